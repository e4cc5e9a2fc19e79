import { type ExecutionContext, Injectable } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { DomainError } from '#libs/platform/errors';
import { callerKey } from '#libs/platform/http';

/** Streams of one caller at once: some tabs of a portal and a script. */
const OF_CALLER = 10;
/** Of all people and API keys of one agency, which makes as many of these as it likes. */
const OF_AGENCY = 50;
/** Of all agencies, in this process. */
const OF_ALL = 1_000;

export class TooManyStreamsError extends DomainError {
  constructor(whose: string) {
    super('too-many', 'streams.too-many', `${whose} Close some, or ask for it without its events instead.`, {
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
  enter(tenantId: string, caller: string): () => void {
    const keys = [`caller ${caller}`, `agency ${tenantId}`] as const;
    const [callers, agencys] = keys;
    if (this.count(callers) >= OF_CALLER) throw new TooManyStreamsError(`You follow ${OF_CALLER} streams already.`);
    if (this.count(agencys) >= OF_AGENCY)
      throw new TooManyStreamsError(`Your agency follows ${OF_AGENCY} streams already.`);
    if (this.all >= OF_ALL) throw new TooManyStreamsError('Too many streams are followed just now.');
    for (const key of keys) this.open.set(key, this.count(key) + 1);
    this.all += 1;
    let inside = true;
    return () => {
      if (!inside) return;
      inside = false;
      this.all -= 1;
      for (const key of keys) this.leave(key);
    };
  }

  private count(key: string): number {
    return this.open.get(key) ?? 0;
  }

  private leave(key: string): void {
    const left = this.count(key) - 1;
    if (left > 0) this.open.set(key, left);
    else this.open.delete(key);
  }
}

/** Takes the place of a request's stream, and gives it back when the request is over. @throws TooManyStreamsError */
export function holdPlace(context: ExecutionContext, streams: EventStreams, tenantId: string): void {
  const leave = streams.enter(tenantId, callerKey(context.switchToHttp().getRequest<FastifyRequest>()));
  const { raw } = context.switchToHttp().getResponse<FastifyReply>();
  raw.once('close', leave);
  // Gone while what it follows was looked up: the event has been.
  if (raw.destroyed) leave();
}
