import { lsnDifference } from '#libs/platform/postgres';
import type { Sample, Sender } from './sample.js';

/** Near enough for production to begin to wait for a site. */
const NEAR_BYTES = 16n * 1024n * 1024n;
/** Sites reply each second, idle or not. */
const ALIVE_MS = 4_000;

/**
 * Whether a site could be the synchronous one: it streams, has almost everything, and answers. A site that is frozen, or
 * behind a line that swallows everything, streams to all appearance until wal_sender_timeout, and an idle database leaves
 * it near; so its replies must go on. Their time is the site's own and is only compared with itself.
 */
export class SenderNearness {
  private pid: number | undefined;
  private reply: string | null = null;
  private movedAt: number | undefined;

  /** @param now monotonic milliseconds. */
  observe(sender: Sender | undefined, { lsn }: Sample, now: number): boolean {
    if (sender?.pid !== this.pid) {
      this.pid = sender?.pid;
      this.reply = sender?.repliedAt ?? null;
      this.movedAt = undefined;
    } else if (sender && sender.repliedAt !== this.reply) {
      this.reply = sender.repliedAt;
      this.movedAt = now;
    }
    if (sender?.state !== 'streaming' || sender.flush === null) return false;
    if (lsnDifference(lsn, sender.flush) > NEAR_BYTES) return false;
    return this.movedAt !== undefined && now - this.movedAt < ALIVE_MS;
  }
}
