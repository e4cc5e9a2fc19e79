import tls, { type TLSSocket } from 'node:tls';
import { LINK_PROTOCOL, PROTOCOL_VERSION, hello as helloSchema, type Hello, type RefusalCode } from './contract.js';
import { HelloRefusedError } from './errors.js';
import { readFrame, writeFrame } from './handshake.js';
import { abort, ownsSocket } from './splice.js';
import { Strangers, type StrangerLimits, type StrangerTimes } from './strangers.js';
import type { LinkLog } from './timings.js';

/** How long a refused end has to take the refusal in. */
const REFUSAL_LINGER_MS = 1_000;
const KEEP_ALIVE_MS = 15_000;

export interface AdmissionOptions {
  readonly key: string;
  readonly certificate: string;
  readonly times: StrangerTimes;
  readonly strangers: StrangerLimits;
  /** Decides about a well-formed hello; a HelloRefusedError is told to the dialling end. */
  readonly admit: (candidate: Candidate) => Promise<void>;
  readonly log: LinkLog;
}

/** A connection that has said hello and waits for the answer. */
export interface Candidate {
  readonly socket: TLSSocket;
  readonly hello: Hello;
  readonly remoteAddress: string;
  /** Says welcome. Rejects when the connection is gone, or its identity was cut off, meanwhile. */
  welcome(): Promise<void>;
}

/**
 * The gateway's door: TLS, one hello each, within a time, from strangers who cannot take each other's places.
 * Whatever fails here costs only its own connection.
 */
export class Admission {
  readonly server: tls.Server;
  private readonly strangers: Strangers;
  private readonly candidates = new Map<TLSSocket, Hello>();

  constructor(private readonly options: AdmissionOptions) {
    this.strangers = new Strangers(options.strangers, options.times);
    this.server = tls.createServer({
      key: options.key,
      cert: options.certificate,
      minVersion: 'TLSv1.3',
      ALPNProtocols: [LINK_PROTOCOL],
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_MS,
    });
    this.server.on('connection', (raw) => this.strangers.add(raw));
    this.server.on('secureConnection', (socket) => void this.receive(socket));
    this.server.on('tlsClientError', (_error, socket) => socket.destroy());
  }

  /** Cuts those who said hello under an identity and have not been admitted yet. */
  cutCandidates(matches: (hello: Hello) => boolean): void {
    for (const [socket, hello] of this.candidates) if (matches(hello)) socket.destroy();
  }

  close(): void {
    this.strangers.close();
  }

  private async receive(socket: TLSSocket): Promise<void> {
    socket.on('error', () => undefined);
    const raw = this.strangers.find(socket);
    if (!raw) return void socket.destroy();
    ownsSocket(socket, raw);
    const remoteAddress = socket.remoteAddress ?? '';
    try {
      if (socket.alpnProtocol !== LINK_PROTOCOL) return void socket.destroy();
      const hello = parseHello(await readFrame(socket));
      this.candidates.set(socket, hello);
      await this.options.admit({ socket, hello, remoteAddress, welcome: () => this.welcome(socket) });
    } catch (error) {
      await this.refuse(socket, remoteAddress, error);
    } finally {
      this.candidates.delete(socket);
    }
  }

  private async welcome(socket: TLSSocket): Promise<void> {
    this.strangers.welcomed(socket);
    if (!socket.destroyed) await writeFrame(socket, { ok: true });
    if (socket.destroyed) throw new HelloRefusedError('unavailable', 'The connection is gone.');
  }

  private async refuse(socket: TLSSocket, remoteAddress: string, error: unknown): Promise<void> {
    const refusal = error instanceof HelloRefusedError ? error : undefined;
    this.options.log('warn', 'a connection was refused', {
      remoteAddress,
      why: refusal?.refusal ?? (error instanceof Error ? error.message : String(error)),
    });
    if (socket.destroyed) return;
    const known = this.candidates.has(socket);
    // Whoever does not speak the protocol learns nothing of it.
    if (!refusal && !known) return abort(socket);
    const code: RefusalCode = refusal?.refusal ?? 'unavailable';
    const message = refusal?.message ?? 'The site cannot decide about this link right now. It will be tried again.';
    setTimeout(() => socket.destroy(), REFUSAL_LINGER_MS).unref();
    // Whoever is gone already hears it from the end of the connection; the refusal is in the log.
    await writeFrame(socket, { ok: false, code, message }).catch(() => undefined);
    socket.end();
    socket.resume();
  }
}

function parseHello(value: unknown): Hello {
  const parsed = helloSchema.safeParse(value);
  if (!parsed.success) throw new HelloRefusedError('malformed', 'The hello is not of this protocol. Update the agent.');
  if (parsed.data.protocol !== PROTOCOL_VERSION) {
    throw new HelloRefusedError('unsupported-version', 'This site does not speak that version. Update the agent.');
  }
  return parsed.data;
}
