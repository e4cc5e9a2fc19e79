import type net from 'node:net';
import { sourceOf } from '#libs/platform/address';

/** How many connections may be on their way to a welcome at once. */
export interface StrangerLimits {
  /** Of all sources together. */
  readonly total: number;
  /** Of one source of which nothing that was welcomed is connected. */
  readonly perSource: number;
  /** Of one source from which something that was welcomed is connected: bursts of streams come from there. */
  readonly perKnownSource: number;
}

export const DEFAULT_STRANGER_LIMITS: StrangerLimits = { total: 1_024, perSource: 16, perKnownSource: 256 };

export interface StrangerTimes {
  /** Milliseconds until the first byte. */
  readonly firstByte: number;
  /** Milliseconds until the welcome. */
  readonly handshake: number;
}

interface Stranger {
  readonly name: string;
  readonly raw: net.Socket;
  readonly source: string;
  readonly timers: readonly NodeJS.Timeout[];
}

/**
 * The connections that have not been welcomed. Whoever connects to hold places costs itself, not others: when a limit
 * is reached, room is made by ending the one that has said nothing for longest, else the oldest; never by turning the
 * newest away. A genuine handshake takes a few round trips, so that it is over before it is the oldest.
 */
export class Strangers {
  /** In the order of their coming. */
  private readonly waiting = new Map<string, Stranger>();
  /** How many welcomed connections are live, by source. */
  private readonly known = new Map<string, number>();

  constructor(
    private readonly limits: StrangerLimits,
    private readonly times: StrangerTimes,
  ) {}

  add(raw: net.Socket): void {
    const name = nameOf(raw);
    const source = sourceOf(raw.remoteAddress ?? '');
    this.makeRoom(source);
    const silence = setTimeout(() => {
      if (raw.bytesRead === 0) raw.destroy();
    }, this.times.firstByte).unref();
    const deadline = setTimeout(() => raw.destroy(), this.times.handshake).unref();
    const stranger: Stranger = { name, raw, source, timers: [silence, deadline] };
    this.waiting.set(name, stranger);
    raw.on('error', () => undefined);
    raw.once('close', () => this.forget(stranger));
  }

  find(socket: net.Socket): net.Socket | undefined {
    return this.waiting.get(nameOf(socket))?.raw;
  }

  /** It is a stranger no longer; as long as it lives, its source is known. */
  welcomed(socket: net.Socket): void {
    const stranger = this.waiting.get(nameOf(socket));
    if (!stranger) return;
    this.forget(stranger);
    const { raw, source } = stranger;
    if (raw.destroyed) return;
    this.known.set(source, (this.known.get(source) ?? 0) + 1);
    raw.once('close', () => {
      const left = (this.known.get(source) ?? 1) - 1;
      if (left === 0) this.known.delete(source);
      else this.known.set(source, left);
    });
  }

  close(): void {
    for (const { raw } of this.waiting.values()) raw.destroy();
  }

  private makeRoom(source: string): void {
    const all = [...this.waiting.values()];
    const own = all.filter((stranger) => stranger.source === source);
    const limit = this.known.has(source) ? this.limits.perKnownSource : this.limits.perSource;
    if (own.length >= limit) return this.evict(own);
    if (all.length < this.limits.total) return;
    const unknown = all.filter((stranger) => !this.known.has(stranger.source));
    this.evict(unknown.length > 0 ? unknown : all);
  }

  /** One of these, which are in the order of their coming. */
  private evict(strangers: readonly Stranger[]): void {
    const chosen = strangers.find(({ raw }) => raw.bytesRead === 0) ?? strangers[0];
    if (!chosen) return;
    this.forget(chosen);
    chosen.raw.destroy();
  }

  private forget(stranger: Stranger): void {
    for (const timer of stranger.timers) clearTimeout(timer);
    if (this.waiting.get(stranger.name) === stranger) this.waiting.delete(stranger.name);
  }
}

const nameOf = (socket: net.Socket): string => `${socket.remoteAddress}|${socket.remotePort}`;
