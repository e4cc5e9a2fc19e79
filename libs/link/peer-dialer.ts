import { randomUUID } from 'node:crypto';
import type { ClientHttp2Session } from 'node:http2';
import type { Duplex } from 'node:stream';
import { ask, askStream, askUnread, type AskOptions } from './asking.js';
import { LinkLostError } from './errors.js';
import type { LinkStream } from './exchange.js';
import { dial, helloBasis, type LinkTarget } from './handshake.js';
import type { LinkIdentity } from './keys.js';
import { clientSession, LinkSession } from './session.js';
import { abort, abortWhenDestroyed } from './splice.js';
import { DEFAULT_TIMINGS, type LinkTimings } from './timings.js';

export interface PeerDialerOptions {
  /** This site, which signs. */
  readonly siteId: string;
  readonly identity: LinkIdentity;
  readonly version: string;
  /** The other site's gateway. */
  readonly peer: LinkTarget;
  readonly timings?: Partial<LinkTimings>;
}

type PeerSession = LinkSession<ClientHttp2Session>;

/**
 * The dialling end of a link between two sites. It is dialled when first needed and again after it broke, by whoever
 * needs it next; connections to standbys are connections of their own and end with it.
 */
export class PeerDialer {
  private readonly timings: LinkTimings;
  private readonly instanceId = randomUUID();
  private current: Promise<PeerSession> | undefined;
  private closed = false;

  constructor(private readonly options: PeerDialerOptions) {
    this.timings = { ...DEFAULT_TIMINGS, ...options.timings };
  }

  /**
   * A connection to the peer's standby of a workload.
   *
   * @throws HelloRefusedError (`link.workload-refused`, …) and what dialling throws.
   */
  async open(workloadId: string): Promise<Duplex> {
    const session = await this.session();
    const { siteId, version, identity, peer } = this.options;
    const hello = { kind: 'site-stream', siteId, workloadId, ...helloBasis(version, this.instanceId) } as const;
    const stream = await dial(peer, hello, identity, this.timings.handshake);
    stream.once(
      'close',
      session.whenEnded(() => abort(stream)),
    );
    return abortWhenDestroyed(stream);
  }

  /** A command to the peer, JSON both ways. Errors as {@link ask}, and what dialling throws. */
  async request(path: string, json: unknown, options?: AskOptions): Promise<unknown> {
    return ask((await this.session()).http, path, json, options);
  }

  /** As {@link request}, with the answer's JSON as it came. */
  async requestUnread(path: string, json: unknown, options?: AskOptions): Promise<Buffer> {
    return askUnread((await this.session()).http, path, json, options);
  }

  async requestStream(path: string, json: unknown, options?: AskOptions): Promise<LinkStream> {
    return askStream((await this.session()).http, path, json, options);
  }

  async close(): Promise<void> {
    this.closed = true;
    // A dial that failed has been told to whoever asked for it, and leaves nothing to close.
    const session = await this.current?.catch(() => undefined);
    session?.close('shutdown');
  }

  private async session(): Promise<PeerSession> {
    if (this.closed) throw new LinkLostError('it was closed');
    // Why the last dial failed was told to whoever asked for it; this one dials anew.
    const known = await this.current?.catch(() => undefined);
    if (known?.alive) return known;
    // Whoever came first while this one waited has begun a new dial already.
    this.dialling ??= this.dialPeer().finally(() => (this.dialling = undefined));
    this.current = this.dialling;
    return this.current;
  }

  private dialling: Promise<PeerSession> | undefined;

  private async dialPeer(): Promise<PeerSession> {
    const { siteId, version, identity, peer } = this.options;
    const hello = { kind: 'site', siteId, ...helloBasis(version, this.instanceId) } as const;
    const socket = await dial(peer, hello, identity, this.timings.handshake);
    const session = new LinkSession(clientSession(socket), socket, this.timings);
    if (this.closed) session.close('shutdown');
    return session;
  }
}
