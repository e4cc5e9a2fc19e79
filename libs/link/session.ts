import http2, { type ClientHttp2Session, type Http2Session, type ServerHttp2Session, type Settings } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { closeReason, type CloseReason } from './contract.js';
import { LinkLostError } from './errors.js';
import type { LinkTimings } from './timings.js';

/** Long lines need large windows: 16 MiB keeps 1 Gbit/s busy over 130 ms. */
const WINDOW_BYTES = 16 * 2 ** 20;
const SETTINGS: Settings = { initialWindowSize: WINDOW_BYTES, maxFrameSize: 2 ** 20, maxConcurrentStreams: 1_000 };
/** Node's limit (10 MB) is below one window. */
const SESSION_MEMORY_MEGABYTES = 256;
const LOOKS_PER_DEATH = 10;
/** Time for the GOAWAY frame to leave; nothing else passes meanwhile. */
const FAREWELL_MS = 50;

export function serverSession(socket: TLSSocket): ServerHttp2Session {
  const session = http2.performServerHandshake(socket, {
    settings: SETTINGS,
    maxSessionMemory: SESSION_MEMORY_MEGABYTES,
    maxOutstandingPings: LOOKS_PER_DEATH,
  });
  session.setLocalWindowSize(WINDOW_BYTES);
  return session;
}

export function clientSession(socket: TLSSocket): ClientHttp2Session {
  const session = http2.connect('http://link.invalid', {
    createConnection: () => socket,
    settings: { ...SETTINGS, enablePush: false },
    maxSessionMemory: SESSION_MEMORY_MEGABYTES,
    maxOutstandingPings: LOOKS_PER_DEATH,
    peerMaxConcurrentStreams: 1_000,
  });
  session.once('connect', () => session.setLocalWindowSize(WINDOW_BYTES));
  return session;
}

/** One established link: its HTTP/2 session, whether the other end still answers, and why it ended. */
export class LinkSession<S extends Http2Session = Http2Session> {
  readonly connectedSince = new Date();
  /** Resolves once the link has ended, with the reason. Never rejects. */
  readonly ended: Promise<CloseReason>;
  /** The last ping's, in milliseconds; null before the first. */
  roundTripMs: number | null = null;
  private reason: CloseReason | undefined;
  private readonly timers: NodeJS.Timeout[] = [];
  private readonly onEnd = new Set<() => void>();

  constructor(
    readonly http: S,
    private readonly socket: TLSSocket,
    timings: LinkTimings,
  ) {
    this.ended = new Promise((resolve) => {
      const over = (): void => {
        this.settle('lost');
        resolve(this.reason ?? 'lost');
      };
      http.once('close', over);
    });
    http.on('error', () => this.close('lost'));
    http.on('goaway', (_code, _last, data) => {
      const said = closeReason.safeParse(Buffer.from(data ?? '').toString());
      this.close(said.success ? said.data : 'lost');
    });
    this.watch(timings);
  }

  get alive(): boolean {
    return this.reason === undefined;
  }

  /** Calls back once when the link ends, at once if it has. Answers how to take the call-back off again. */
  whenEnded(callback: () => void): () => void {
    if (!this.alive) callback();
    else this.onEnd.add(callback);
    return () => this.onEnd.delete(callback);
  }

  /** Whether the other end answers a ping in time. */
  answers(withinMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), withinMs);
      const settle = (answer: boolean): void => {
        clearTimeout(timer);
        resolve(answer);
      };
      if (!this.ping((error) => settle(error === null))) settle(false);
    });
  }

  /** Ends the link at once; the other end is told why if it can still hear. Safe to repeat: the first reason counts. */
  close(reason: CloseReason): void {
    if (!this.alive) return;
    this.settle(reason);
    const destroy = (): void => {
      if (!this.http.destroyed) this.http.destroy(new LinkLostError(reason));
      this.socket.destroy();
    };
    if (this.http.destroyed || reason === 'lost' || reason === 'silent') return destroy();
    this.http.goaway(0, 0, Buffer.from(reason));
    setTimeout(destroy, FAREWELL_MS).unref();
  }

  private settle(reason: CloseReason): void {
    if (!this.alive) return;
    this.reason = reason;
    for (const timer of this.timers) clearInterval(timer);
    for (const callback of this.onEnd) callback();
    this.onEnd.clear();
  }

  /**
   * Any byte is a sign of life, not just a pong: behind a full line a pong can be late by more than the limit. Looks
   * are counted, not time, so that a machine that was suspended reads what has come in before it judges.
   */
  private watch(timings: LinkTimings): void {
    let heard = this.socket.bytesRead;
    let silentLooks = 0;
    const look = (): void => {
      silentLooks = this.socket.bytesRead === heard ? silentLooks + 1 : 0;
      heard = this.socket.bytesRead;
      if (silentLooks >= LOOKS_PER_DEATH) this.close('silent');
    };
    this.timers.push(setInterval(look, timings.deadAfter / LOOKS_PER_DEATH).unref());
    const measure = (): void => {
      this.ping((error, duration) => {
        if (error === null) this.roundTripMs = duration;
      });
    };
    this.timers.push(setInterval(measure, timings.pingEvery).unref());
    measure();
  }

  private ping(answered: (error: Error | null, duration: number) => void): boolean {
    if (this.http.destroyed || this.http.closed) return false;
    return this.http.ping(answered);
  }
}
