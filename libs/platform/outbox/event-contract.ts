import { Injectable, SetMetadata } from '@nestjs/common';
import type { z } from 'zod';
import type { ProviderTransaction } from '#libs/platform/database';

/** What a lower library says has happened; higher ones subscribe, so that knowledge flows upward without an import. */
export interface EventContract<P = unknown> {
  /** For example `tenancy.agency-confirmed`. */
  readonly topic: string;
  readonly payload: z.ZodType<P>;
}

export function defineEvent<P>(contract: EventContract<P>): EventContract<P> {
  return Object.freeze(contract);
}

export interface DeliveredEvent<P> {
  readonly id: string;
  readonly tenantId: string | null;
  readonly at: Date;
  readonly payload: P;
}

/**
 * Works on an event in the transaction that marks it delivered: all subscribers of an event succeed together or are
 * tried again together. Nothing that cannot be rolled back may happen in it; write a row (a mail, an order) instead.
 */
export interface EventSubscriber<P> {
  receive(tx: ProviderTransaction, event: DeliveredEvent<P>): Promise<void>;
}

export const SUBSCRIBES = Symbol('mainstay event contract');

/** Marks an injectable class as a subscriber of an event. */
export function Subscribes<P>(
  contract: EventContract<P>,
): (target: new (...dependencies: never[]) => EventSubscriber<P>) => void {
  return (target) => {
    SetMetadata(SUBSCRIBES, contract)(target);
    Injectable()(target);
  };
}
