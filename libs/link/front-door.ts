import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { errorText } from '#libs/platform/errors';
import { abort, splice } from './splice.js';
import { connectTcp } from './tcp.js';
import type { LinkLog } from './timings.js';

const KEEP_ALIVE_MS = 15_000;

/** Where a front door leads. `key` names the place: connections to another key are closed at a switch. */
export type FrontDoorTarget =
  | { readonly key: string; readonly kind: 'tunnel'; readonly open: () => Promise<Duplex> }
  | { readonly key: string; readonly kind: 'tcp'; readonly host: string; readonly port: number };

/** Who may come in, by address; asked before anything is read of a client. */
export interface FrontDoorGate {
  /** Counts the client in; false: it is reset at once, and does not leave. */
  enter(address: string): boolean;
  leave(address: string): void;
  /** Whether one that came in may stay. */
  allows(address: string): boolean;
}

export interface FrontDoorOptions {
  readonly host: string;
  /** 0: a free one, see {@link FrontDoor.listen}. */
  readonly port: number;
  /** Asked for each connection; undefined: the door is closed, clients are reset and try their other address. */
  readonly target: () => FrontDoorTarget | undefined | Promise<FrontDoorTarget | undefined>;
  /** Default: 1000. More are reset. */
  readonly maximumConnections?: number;
  readonly connectTimeoutMs?: number;
  /** Default: everybody comes in. */
  readonly gate?: FrontDoorGate;
  readonly log?: LinkLog;
}

export interface FrontDoorCounts {
  readonly open: number;
  readonly accepted: number;
  /** Closed door or closed to that client, full, or the target did not answer. */
  readonly failed: number;
  /** Closed by a switch. */
  readonly switched: number;
}

/** A stable TCP address of a workload, which leads to production or to the warm standby. */
export class FrontDoor {
  private readonly server: net.Server;
  /** The key is undefined until the target is known. */
  private readonly connections = new Map<net.Socket, string | undefined>();
  private leadsTo: { readonly key: string | undefined } | undefined;
  private accepted = 0;
  private failed = 0;
  private switched = 0;

  constructor(private readonly options: FrontDoorOptions) {
    this.server = net.createServer(
      { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS },
      (socket) => void this.receive(socket),
    );
    this.server.maxConnections = options.maximumConnections ?? 1_000;
    this.server.on('drop', () => (this.failed += 1));
  }

  /** @throws EADDRINUSE and the like. */
  async listen(): Promise<AddressInfo> {
    this.server.listen(this.options.port, this.options.host);
    await once(this.server, 'listening');
    return this.server.address() as AddressInfo;
  }

  /**
   * From now on only the place of this key counts (undefined: none): resets every connection that leads elsewhere, also
   * one that is just being opened there. `target` must answer the new place already. Answers how many were reset.
   */
  switchTo(key: string | undefined): number {
    this.leadsTo = { key };
    const stale = [...this.connections].filter(([, led]) => led !== undefined && led !== key);
    for (const [socket] of stale) abort(socket);
    this.switched += stale.length;
    return stale.length;
  }

  /** Resets the clients that may not stay any more, after the gate has changed. */
  recheck(): void {
    const { gate } = this.options;
    if (!gate) return;
    for (const socket of this.connections.keys()) {
      if (socket.remoteAddress !== undefined && !gate.allows(socket.remoteAddress)) abort(socket);
    }
  }

  counts(): FrontDoorCounts {
    const { accepted, failed, switched } = this;
    return { open: this.connections.size, accepted, failed, switched };
  }

  async close(): Promise<void> {
    const closed = this.server.listening ? once(this.server, 'close') : undefined;
    this.server.close();
    for (const socket of this.connections.keys()) abort(socket);
    await closed;
  }

  private async receive(socket: net.Socket): Promise<void> {
    this.accepted += 1;
    socket.on('error', () => undefined);
    const { gate } = this.options;
    const address = socket.remoteAddress;
    if (gate && (address === undefined || !gate.enter(address))) return this.turnAway(socket);
    this.connections.set(socket, undefined);
    socket.once('close', () => {
      this.connections.delete(socket);
      if (address !== undefined) gate?.leave(address);
    });
    try {
      const target = await this.options.target();
      if (!target || this.isStale(target.key) || socket.destroyed) return this.turnAway(socket);
      this.connections.set(socket, target.key);
      const stream = await this.connect(target);
      stream.on('error', () => undefined);
      if (this.isStale(target.key) || socket.destroyed) {
        abort(stream);
        return this.turnAway(socket);
      }
      splice(socket, stream);
    } catch (error) {
      this.options.log?.('warn', 'a front door could not reach its target', { why: errorText(error) });
      this.turnAway(socket);
    }
  }

  private connect(target: FrontDoorTarget): Promise<Duplex> {
    return target.kind === 'tunnel' ? target.open() : connectTcp(target, this.options.connectTimeoutMs);
  }

  private isStale(key: string): boolean {
    return this.leadsTo !== undefined && this.leadsTo.key !== key;
  }

  private turnAway(socket: net.Socket): void {
    this.failed += 1;
    abort(socket);
  }
}
