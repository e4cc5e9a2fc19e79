import { connect as dial, createServer, type Server, type Socket } from 'node:net';
import path from 'node:path';
import type { Readable } from 'node:stream';
import {
  askSocket,
  type CallOptions,
  PEER_CALLER_HEADER,
  type PeerAddress,
  PeerRefusedError,
  PeerSites,
  PeerUnreachableError,
  readJson,
  type SiteCommand,
} from '#libs/sites/site';

/** What a test's site is to the others of the test. */
export interface KnownSite {
  readonly siteId: string;
  readonly directory: string;
  /** Where this workload's standby listens. */
  standbyPort(): Promise<number>;
}

/** The sites of this process by their id, reached over their sockets as the link would. */
export const KNOWN_SITES = new Map<string, KnownSite>();

/** Commands between sites without a link. */
export class DirectPeers extends PeerSites {
  /** Sites that do not answer this one. */
  readonly lost = new Set<string>();

  constructor(private readonly siteId: string) {
    super();
  }

  known(siteId: string): KnownSite | undefined {
    return this.lost.has(siteId) ? undefined : KNOWN_SITES.get(siteId);
  }

  async call<I, O>(address: PeerAddress, command: SiteCommand<I, O>, input: I, options: CallOptions): Promise<O> {
    const timeout = AbortSignal.timeout(options.timeoutMs);
    const answer = await this.ask(address, command.path, command.input.parse(input), timeout);
    return command.output.parse(await readJson(answer));
  }

  async stream(address: PeerAddress, path_: string, json: unknown): Promise<Readable> {
    return this.ask(address, path_, json, new AbortController().signal);
  }

  private async ask({ peer, workloadId }: PeerAddress, path_: string, json: unknown, signal: AbortSignal) {
    const other = this.known(peer.siteId);
    if (!other) throw new PeerUnreachableError();
    const answer = await askSocket({
      socketPath: path.join(other.directory, 'site.sock'),
      method: 'POST',
      path: path_,
      headers: { [PEER_CALLER_HEADER]: JSON.stringify({ siteId: this.siteId, workloadId }) },
      body: JSON.stringify(json),
      signal,
    }).catch((error: unknown) => {
      throw new PeerUnreachableError({ cause: error });
    });
    if (answer.status < 400) return answer.body;
    const { code, message } = (await readJson(answer.body)) as { code: string; message: string };
    throw new PeerRefusedError(code, message);
  }
}

export interface ForwardTarget {
  readonly port: number;
  /** Another site's server: the agency's line does not concern it. */
  readonly peer: boolean;
}

/** A walreceiver's way out, as plain TCP, which can fall silent without being closed. */
export class DirectLine {
  /** Packets to and from the agency are lost: nothing answers, nothing is refused. */
  cut = false;
  private server: Server | undefined;
  private readonly sockets = new Set<Socket>();

  constructor(private readonly target: () => Promise<ForwardTarget | undefined>) {}

  get listening(): boolean {
    return this.server !== undefined;
  }

  async listen(port: number): Promise<void> {
    const server = createServer((near) => {
      near.on('error', () => near.destroy());
      // No server to reach, as when the agency's is being stopped: the line is closed, and its other end dials again.
      const reached = this.target().catch(() => undefined);
      void reached.then((target) => (target === undefined ? near.destroy() : this.join(near, target)));
    });
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    this.server = server;
  }

  freeze(): void {
    this.cut = true;
    for (const socket of this.sockets) socket.pause().unpipe();
  }

  /** The line is back: what was open is broken, and is made anew. */
  thaw(): void {
    this.cut = false;
    this.breakAll();
  }

  close(): void {
    this.breakAll();
    this.server?.close();
  }

  private breakAll(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  private join(near: Socket, { port, peer }: ForwardTarget): void {
    const far = dial(port, '127.0.0.1');
    for (const socket of [near, far]) {
      this.sockets.add(socket);
      socket.setNoDelay(true).on('error', () => socket.destroy());
      socket.on('close', () => {
        this.sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    if (!this.cut || peer) near.pipe(far).pipe(near);
  }
}
