import { randomUUID } from 'node:crypto';
import type { SiteRole } from '#contracts/sites';

/** A metro that is back must have been near for so long, without a break, before production waits for it again. */
const RETURN_AFTER_MS = 30_000;

export interface ReturnRequest {
  readonly requestId: string;
  readonly lsn: string;
  readonly reason: string;
}

/** Decides when the agent asks the leading regional site to let it return to the metro. Times are monotonic milliseconds. */
export class MetroReturn {
  private nearSince: number | undefined;
  private hurried = false;
  private asked: ReturnRequest | null = null;

  /** Stays the same request until the metro is lost again or leads. */
  get request(): ReturnRequest | null {
    return this.asked;
  }

  /** A person asks for it: the metro's first moment near is enough. */
  hurry(): void {
    this.hurried = true;
  }

  observe(seen: {
    readonly now: number;
    readonly lsn: string;
    readonly leader: SiteRole | null;
    readonly near: boolean;
  }) {
    if (seen.leader === 'metro') this.hurried = false;
    if (seen.leader !== 'regional' || !seen.near) {
      this.nearSince = undefined;
      this.asked = null;
      return;
    }
    this.nearSince ??= seen.now;
    if (!this.hurried && seen.now - this.nearSince < RETURN_AFTER_MS) return;
    this.asked ??= { requestId: randomUUID(), lsn: seen.lsn, reason: 'the metro site is back and near' };
  }
}
