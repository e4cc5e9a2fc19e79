import { Inject, Injectable, type OnModuleInit } from '@nestjs/common';
import { DiscoveryService } from '@nestjs/core';
import { type QuestionContract, siteQuestion } from '#contracts/sites';
import { DomainError } from '#libs/platform/errors';
import { ANSWERS_QUESTION, type AnsweredBytes, type QuestionHandler } from './answers-question.js';

/** The question contracts that this process must be able to answer; provided by the application. */
export const QUESTION_CONTRACTS = Symbol('question contracts');

/** A question that this site does not know, or that is not one. */
export class QuestionMalformedError extends DomainError {
  constructor(detail: string) {
    super('invalid', 'question.malformed', 'The site does not understand this question.', { detail });
  }
}

/** A question contract that nobody answers, or that two answer: the start fails. */
export class QuestionHandlerMismatchError extends Error {
  constructor(faults: readonly string[]) {
    super(`question contracts and handlers do not match: ${faults.join('; ')}`);
    this.name = 'QuestionHandlerMismatchError';
  }
}

type Contract = QuestionContract<unknown, unknown>;
type Handler = QuestionHandler<unknown, unknown>;
export type SiteAnswer = { readonly json: unknown } | { readonly bytes: AnsweredBytes };

/** Answers what the control plane asks. */
@Injectable()
export class SiteAnswers implements OnModuleInit {
  private readonly handlers = new Map<string, { readonly contract: Contract; readonly handler: Handler }>();

  constructor(
    @Inject(QUESTION_CONTRACTS) private readonly contracts: readonly Contract[],
    private readonly discovery: DiscoveryService,
  ) {}

  /** @throws QuestionHandlerMismatchError */
  onModuleInit(): void {
    const faults: string[] = [];
    for (const wrapper of this.discovery.getProviders()) {
      const metatype: unknown = wrapper.metatype;
      if (typeof metatype !== 'function') continue;
      const contract = Reflect.getMetadata(ANSWERS_QUESTION, metatype) as Contract | undefined;
      if (!contract) continue;
      if (!this.contracts.includes(contract)) faults.push(`${contract.kind} is answered here but not listed`);
      if (this.handlers.has(contract.kind)) faults.push(`${contract.kind} is answered twice`);
      this.handlers.set(contract.kind, { contract, handler: wrapper.instance as Handler });
    }
    for (const { kind } of this.contracts) if (!this.handlers.has(kind)) faults.push(`nobody answers ${kind}`);
    if (faults.length > 0) throw new QuestionHandlerMismatchError(faults);
  }

  /** @throws QuestionMalformedError, and what the handler refuses */
  async answer(body: unknown, signal: AbortSignal): Promise<SiteAnswer> {
    const asked = siteQuestion.safeParse(body);
    if (!asked.success) throw new QuestionMalformedError(asked.error.message);
    const { kind, tenantId } = asked.data;
    const known = this.handlers.get(kind);
    if (!known) throw new QuestionMalformedError(`the kind ${kind} is not known here`);
    const payload = known.contract.payload.safeParse(asked.data.payload);
    if (!payload.success) throw new QuestionMalformedError(payload.error.message);
    const answer = await known.handler.answer({ tenantId, payload: payload.data }, signal);
    const { answer: schema } = known.contract;
    return schema === null ? { bytes: answer as AnsweredBytes } : { json: schema.parse(answer) };
  }
}
