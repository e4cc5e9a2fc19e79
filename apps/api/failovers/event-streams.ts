import { Injectable } from '@nestjs/common';
import { DomainError } from '#libs/platform/errors';

/** Streams of one caller at once: some tabs of a portal and a script. */
const OF_CALLER = 10;
/** Of all callers, in this process. */
const OF_ALL = 1_000;

export class TooManyStreamsError extends DomainError {
  constructor(whose: string) {
    super('too-many', 'streams.too-many', `${whose} Close some, or ask for the run instead: GET /v1/failovers/{id}.`, {
      facts: { retryAfterSeconds: 10 },
    });
  }
}

/** Counts the event streams that are open: each lasts as long as a run, so no rate limits them. */
@Injectable()
export class EventStreams {
  private readonly open = new Map<string, number>();
  private all = 0;

  /** Takes a place for a stream; the answer gives it back, once. @throws TooManyStreamsError */
  enter(caller: string): () => void {
    const own = this.open.get(caller) ?? 0;
    if (own >= OF_CALLER) throw new TooManyStreamsError(`You follow ${OF_CALLER} streams already.`);
    if (this.all >= OF_ALL) throw new TooManyStreamsError('Too many streams are followed just now.');
    this.open.set(caller, own + 1);
    this.all += 1;
    let inside = true;
    return () => {
      if (!inside) return;
      inside = false;
      this.all -= 1;
      const left = (this.open.get(caller) ?? 1) - 1;
      if (left > 0) this.open.set(caller, left);
      else this.open.delete(caller);
    };
  }
}
