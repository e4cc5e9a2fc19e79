import { Injectable, SetMetadata } from '@nestjs/common';
import type { OrderContract } from '#contracts/sites';
import type { SiteTransaction } from '#libs/platform/database';

/** An order as its handler sees it; the payload has been checked against the contract. */
export interface ReceivedOrder<P> {
  readonly id: string;
  readonly number: number;
  readonly tenantId: string | null;
  readonly payload: P;
}

/**
 * Carries out one kind of order.
 *
 * Orders of one workload and domain come one after another in the order of their numbers, others at the same time. A
 * handler changes the desired state (rows) and wakes whoever works towards it; what takes long is the reconcilers'.
 */
export interface OrderHandler<P> {
  /**
   * Must be safe to repeat: it runs at least once. A DomainError of kind invalid, unprocessable, conflict or not-found
   * fails the order for good and tells the control plane (`order.failed`); whatever else is thrown is tried again
   * with growing pauses, for ever.
   */
  carryOut(order: ReceivedOrder<P>, signal: AbortSignal): Promise<void>;
  /** Runs in the transaction that stores the order: what must be there as soon as the order has been acknowledged. */
  received?(tx: SiteTransaction, order: ReceivedOrder<P>): Promise<void>;
}

export const CARRIES_OUT = Symbol('mainstay order contract');

type OrderHandlerClass<P> = new (...dependencies: never[]) => OrderHandler<P>;

/** Marks an injectable class as the one handler of an order contract. */
export function CarriesOut<P>(contract: OrderContract<P>): <C extends OrderHandlerClass<P>>(target: C) => void {
  return (target) => {
    SetMetadata(CARRIES_OUT, contract)(target);
    Injectable()(target);
  };
}
