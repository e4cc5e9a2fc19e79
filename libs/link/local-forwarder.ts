import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { errorText } from '#libs/platform/errors';
import { abort, splice } from './splice.js';
import type { LinkLog } from './timings.js';

const KEEP_ALIVE_MS = 15_000;

export interface LocalForwarderOptions {
  /** Where each connection leads; a rejection resets it, and the client tries again. */
  readonly open: () => Promise<Duplex>;
  /** 0, the default: a free one, see {@link LocalForwarder.listen}. */
  readonly port?: number;
  /** Default: 127.0.0.1. */
  readonly host?: string;
  readonly log?: LinkLog;
}

/** Lets a stock program (a walreceiver, pg_basebackup) reach what only the tunnel reaches, by a local TCP port. */
export class LocalForwarder {
  private readonly server: net.Server;
  private readonly sockets = new Set<net.Socket>();

  constructor(private readonly options: LocalForwarderOptions) {
    this.server = net.createServer(
      { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS },
      (socket) => void this.forward(socket),
    );
  }

  /** @throws EADDRINUSE and the like. */
  async listen(): Promise<AddressInfo> {
    this.server.listen(this.options.port ?? 0, this.options.host ?? '127.0.0.1');
    await once(this.server, 'listening');
    return this.server.address() as AddressInfo;
  }

  /** Connections now, those being opened included. */
  get connections(): number {
    return this.sockets.size;
  }

  /** Resets all present connections; new ones are taken. */
  cut(): void {
    for (const socket of this.sockets) abort(socket);
  }

  async close(): Promise<void> {
    const closed = this.server.listening ? once(this.server, 'close') : undefined;
    this.server.close();
    this.cut();
    await closed;
  }

  private async forward(socket: net.Socket): Promise<void> {
    this.sockets.add(socket);
    socket.once('close', () => this.sockets.delete(socket)).on('error', () => undefined);
    try {
      const stream = await this.options.open();
      stream.on('error', () => undefined);
      splice(socket, stream);
    } catch (error) {
      this.options.log?.('warn', 'a local connection could not be forwarded', { why: errorText(error) });
      abort(socket);
    }
  }
}
