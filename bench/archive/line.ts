import { once } from 'node:events';
import net, { type AddressInfo, type Socket } from 'node:net';

/** Bytes of TCP's payload: TLS and HTTP counted, the packets' own heads not. */
export interface LineBytes {
  readonly sent: number;
  readonly received: number;
}

/** A port that leads to another one and counts what passes. It slows nothing down on purpose. */
export class CountingLine {
  private sent = 0;
  private received = 0;
  private readonly open = new Set<Socket>();
  private readonly server: net.Server;

  private constructor(target: number) {
    this.server = net.createServer((near) => {
      const far = net.connect({ host: '127.0.0.1', port: target });
      near.on('data', (chunk: Buffer) => (this.sent += chunk.length));
      far.on('data', (chunk: Buffer) => (this.received += chunk.length));
      this.join(near, far);
      this.join(far, near);
    });
  }

  static async to(target: number): Promise<CountingLine> {
    const line = new CountingLine(target);
    line.server.listen({ host: '127.0.0.1', port: 0 });
    await once(line.server, 'listening');
    return line;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** What has passed since the last call. */
  take(): LineBytes {
    const { sent, received } = this;
    this.sent = 0;
    this.received = 0;
    return { sent, received };
  }

  close(): void {
    this.server.close();
    for (const socket of this.open) socket.destroy();
  }

  private join(from: Socket, to: Socket): void {
    this.open.add(from);
    from.setNoDelay(true);
    from.pipe(to);
    // One end's failure is the other's: what that means, restic and the vault say.
    from.on('error', () => to.destroy());
    from.once('close', () => this.open.delete(from));
  }
}
