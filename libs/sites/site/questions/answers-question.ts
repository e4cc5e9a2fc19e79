import type { Readable } from 'node:stream';
import { Injectable, SetMetadata } from '@nestjs/common';
import type { QuestionContract } from '#contracts/sites';

/** A question as its handler sees it; the payload has been checked against the contract. */
export interface AskedQuestion<P> {
  /** Whose: what belongs to another agency is not there. */
  readonly tenantId: string;
  readonly payload: P;
}

/** Bytes as an answer. */
export interface AnsweredBytes {
  /** Destroyed with an error when the bytes cannot be had to the last. */
  readonly stream: Readable;
  /** Null where it is not known beforehand. */
  readonly length: number | null;
}

/** Answers one kind of question at once: a look that changes nothing. Throws a DomainError for what it refuses. */
export interface QuestionHandler<P, A> {
  /** @param signal aborted when nobody waits any more */
  answer(question: AskedQuestion<P>, signal: AbortSignal): Promise<[A] extends [never] ? AnsweredBytes : A>;
}

export const ANSWERS_QUESTION = Symbol('mainstay question contract');

type HandlerClass<P, A> = new (...dependencies: never[]) => QuestionHandler<P, A>;

/** Marks an injectable class as the one handler of a question contract. */
export function AnswersQuestion<P, A>(
  contract: QuestionContract<P, A>,
): <C extends HandlerClass<P, A>>(target: C) => void {
  return (target) => {
    SetMetadata(ANSWERS_QUESTION, contract)(target);
    Injectable()(target);
  };
}
