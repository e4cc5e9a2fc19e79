import { parseLsn } from '#libs/platform/postgres';

interface Sample {
  readonly lsn: bigint;
  /** When this site heard it, in monotonic milliseconds. */
  readonly at: number;
}

/** Ten minutes of reports, one a second. */
const KEPT = 600;

/**
 * Where the source was when, as this site heard it: what turns bytes into seconds. The server's own lag columns are null
 * for an idle database, and the commit time of its last transaction grows all night.
 */
export class SourceHistory {
  private readonly samples: Sample[] = [];

  heard(lsn: string, at: number): void {
    const position = parseLsn(lsn);
    const last = this.samples.at(-1);
    // The source went back: another timeline, or a restored server. What was heard before says nothing about it.
    if (last && position < last.lsn) this.samples.length = 0;
    if (last && at <= last.at) return;
    this.samples.push({ lsn: position, at });
    if (this.samples.length > KEPT) this.samples.shift();
  }

  /**
   * Seconds by which something at `lsn` is behind the source: since the source was first heard to be past it. 0 when it
   * has all that was heard; null when it is behind all that is remembered.
   */
  secondsBehind(lsn: string, now: number): number | null {
    const position = parseLsn(lsn);
    const last = this.samples.at(-1);
    if (!last) return null;
    if (position >= last.lsn) return 0;
    const past = this.samples.findIndex((sample) => sample.lsn > position);
    if (past === 0) return null;
    const first = this.samples[past];
    return first ? Math.max(0, now - first.at) / 1_000 : null;
  }
}
