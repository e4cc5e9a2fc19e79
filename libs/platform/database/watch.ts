import { createHash } from 'node:crypto';
import { pause } from '#libs/platform/clock';
import type { Logger } from '#libs/platform/telemetry';
import { Listener } from './listen.js';

/** A notification may be missed: so a watch looks by itself as well. */
const LOOK_EVERY_MS = 1_000;

/**
 * Something in the database as all who follow it in this process see it: however many they are, it is read once for each
 * notification and once a second.
 */
export class Watch<T> {
  private reading: { readonly sight: Promise<T>; readonly wakes: number } | undefined;
  private wakes = 0;
  private waiting: Promise<void> | undefined;
  private woken = new AbortController();

  /** @param read is never called while the call before is under way: it may read on from where that one ended */
  constructor(private readonly read: () => Promise<T>) {}

  /** As read now, or as it is being read, unless that reading began before what woke us. @throws what reading throws */
  look(): Promise<T> {
    const { reading, wakes } = this;
    if (reading?.wakes === wakes) return reading.sight;
    // Who asked for the one before is told if it failed.
    const before = reading?.sight.catch(() => undefined) ?? Promise.resolve();
    const fresh = { sight: before.then(() => this.read()), wakes };
    this.reading = fresh;
    const done = (): void => {
      if (this.reading === fresh) this.reading = undefined;
    };
    fresh.sight.then(done, done);
    return fresh.sight;
  }

  wake(): void {
    this.wakes += 1;
    this.woken.abort();
  }

  /** Resolves at the next notification, or after a second. */
  news(): Promise<void> {
    return (this.waiting ??= this.pause().finally(() => (this.waiting = undefined)));
  }

  private async pause(): Promise<void> {
    const { signal } = this.woken;
    await pause(LOOK_EVERY_MS, signal);
    if (signal.aborted) this.woken = new AbortController();
  }
}

interface Followed<T> {
  readonly name: string;
  readonly watch: Watch<T>;
  followers: number;
}

/**
 * What is followed in this process at this moment, each thing under its own tenant, woken by one notification channel. Every
 * role of the database can hear that: so a thing is named there by the SHA-256 of its id, in hexadecimal digits.
 */
export class Watches<T> {
  private readonly followed = new Map<string, Followed<T>>();
  private readonly stopping = new AbortController();
  private readonly listener: Listener;

  constructor(url: string, channel: string, log: Logger) {
    this.listener = new Listener(url, [channel], (_channel, name) => this.heard(name), log);
  }

  /** Aborted once {@link stop} is called: whoever follows ends then. */
  get stopped(): AbortSignal {
    return this.stopping.signal;
  }

  start(): Promise<void> {
    return this.listener.start();
  }

  async stop(): Promise<void> {
    this.stopping.abort(new Error('this process is stopping'));
    for (const { watch } of this.followed.values()) watch.wake();
    await this.listener.close();
  }

  /** The watch of all who follow the same, made for the first of them. Each {@link leave}s again. */
  join(tenantId: string, id: string, make: () => Watch<T>): Watch<T> {
    const key = `${tenantId}/${id}`;
    let followed = this.followed.get(key);
    if (!followed) {
      followed = { name: createHash('sha256').update(id).digest('hex'), watch: make(), followers: 0 };
      this.followed.set(key, followed);
    }
    followed.followers += 1;
    return followed.watch;
  }

  leave(tenantId: string, id: string): void {
    const key = `${tenantId}/${id}`;
    const followed = this.followed.get(key);
    if (!followed) return;
    followed.followers -= 1;
    if (followed.followers === 0) this.followed.delete(key);
  }

  /** An empty name: the listener has (re)connected, so anything may have happened. */
  private heard(name: string): void {
    for (const each of this.followed.values()) if (name === '' || name === each.name) each.watch.wake();
  }
}
