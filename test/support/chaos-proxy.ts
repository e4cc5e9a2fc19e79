import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';

/** What may be under way in one direction of one connection: enough for 155 Mbit/s over 400 ms. */
const UNDER_WAY_BYTES = 8 * 2 ** 20;

export interface ChaosProxyTarget {
  readonly host: string;
  readonly port: number;
}

export interface ChaosProxyOptions {
  /** One way, milliseconds. */
  readonly delayMs?: number;
  /** Each way, shared by all connections. */
  readonly bytesPerSecond?: number;
}

/**
 * A TCP line that can be made bad: slow, far, silent or cut. While stalled it forwards nothing and refuses nothing, as
 * a path that drops packets does: sockets stay open, and new connections are accepted and never answered.
 */
export class ChaosProxy {
  delayMs: number;
  bytesPerSecond: number;
  private stalled = false;
  private readonly server: net.Server;
  private readonly sockets = new Set<net.Socket>();
  private readonly flows = new Set<Flow>();
  /** When the line is free again, by direction. */
  private readonly free = { out: 0, back: 0 };

  constructor(
    private readonly target: ChaosProxyTarget,
    options: ChaosProxyOptions = {},
  ) {
    this.delayMs = options.delayMs ?? 0;
    this.bytesPerSecond = options.bytesPerSecond ?? Infinity;
    this.server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.join(socket));
  }

  /** Answers the port. */
  async listen(port = 0, host = '127.0.0.1'): Promise<number> {
    this.server.listen(port, host);
    await once(this.server, 'listening');
    return (this.server.address() as AddressInfo).port;
  }

  get connections(): number {
    return this.sockets.size / 2;
  }

  /** Forwards nothing from now on. */
  stall(): void {
    this.stalled = true;
    for (const flow of this.flows) flow.wake();
  }

  /** Forwards again, what was held back first. */
  resume(): void {
    this.stalled = false;
    for (const flow of this.flows) flow.wake();
  }

  /** Resets every present connection; new ones are taken. */
  cut(): void {
    for (const socket of this.sockets) socket.resetAndDestroy();
  }

  async close(): Promise<void> {
    const closed = this.server.listening ? once(this.server, 'close') : undefined;
    this.server.close();
    this.cut();
    await closed;
  }

  private join(near: net.Socket): void {
    const far = net.connect({ ...this.target, allowHalfOpen: true, noDelay: true });
    this.flow(near, far, 'out');
    this.flow(far, near, 'back');
  }

  private flow(from: net.Socket, to: net.Socket, way: 'out' | 'back'): void {
    const flow = new Flow(
      from,
      to,
      (bytes) => this.due(way, bytes),
      () => this.stalled,
    );
    this.flows.add(flow);
    this.sockets.add(from);
    from.on('error', () => to.resetAndDestroy());
    from.on('close', () => {
      this.sockets.delete(from);
      // What has been read is still under way and arrives; only an end that was no end goes at once.
      if (from.readableEnded) return;
      flow.stop();
      to.destroy();
    });
    to.on('close', () => {
      flow.stop();
      this.flows.delete(flow);
    });
  }

  private due(way: 'out' | 'back', bytes: number): number {
    const begins = Math.max(performance.now(), this.free[way]);
    this.free[way] = begins + (bytes / this.bytesPerSecond) * 1_000;
    return this.free[way] + this.delayMs;
  }
}

/** One direction of one connection. */
class Flow {
  private readonly queue: { readonly at: number; readonly chunk: Buffer | undefined }[] = [];
  private bytes = 0;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly from: net.Socket,
    private readonly to: net.Socket,
    private readonly due: (bytes: number) => number,
    private readonly stalled: () => boolean,
  ) {
    from.on('data', (chunk: Buffer) => this.take(chunk));
    from.on('end', () => this.take(undefined));
    to.on('drain', () => this.wake());
  }

  /** Looks again at what may leave. */
  wake(): void {
    clearTimeout(this.timer);
    if (this.stalled()) {
      this.from.pause();
      return;
    }
    for (let first = this.queue[0]; first && !this.to.writableNeedDrain; first = this.queue[0]) {
      const wait = first.at - performance.now();
      if (wait > 0) {
        this.timer = setTimeout(() => this.wake(), wait);
        break;
      }
      this.queue.shift();
      this.bytes -= first.chunk?.length ?? 0;
      if (first.chunk) this.to.write(first.chunk);
      else this.to.end();
    }
    if (this.bytes < UNDER_WAY_BYTES) this.from.resume();
  }

  stop(): void {
    clearTimeout(this.timer);
  }

  private take(chunk: Buffer | undefined): void {
    this.queue.push({ at: this.due(chunk?.length ?? 0), chunk });
    this.bytes += chunk?.length ?? 0;
    if (this.bytes >= UNDER_WAY_BYTES) this.from.pause();
    if (this.queue.length === 1 || this.stalled()) this.wake();
  }
}
