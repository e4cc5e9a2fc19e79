import { Inject, Injectable, type OnModuleInit } from '@nestjs/common';
import { DiscoveryService } from '@nestjs/core';
import type { OrderContract } from '#contracts/sites';
import { CARRIES_OUT, type OrderHandler } from './carries-out.js';
import { OrderHandlerMismatchError } from './order.errors.js';

/** The order contracts that this process must be able to carry out; provided by the application. */
export const ORDER_CONTRACTS = Symbol('order contracts');

export interface RegisteredOrder {
  readonly contract: OrderContract<never>;
  readonly handler: OrderHandler<never>;
}

/** @throws OrderHandlerMismatchError unless each contract has exactly one handler, and each handler a contract. */
export function matchOrders(
  contracts: readonly OrderContract<never>[],
  handlers: readonly RegisteredOrder[],
): Map<string, RegisteredOrder> {
  const faults: string[] = [];
  const matched = new Map<string, RegisteredOrder>();
  for (const contract of contracts) {
    const found = handlers.filter((registered) => registered.contract.kind === contract.kind);
    if (found.length !== 1) faults.push(`${contract.kind} has ${found.length} handlers`);
    for (const registered of found) matched.set(contract.kind, registered);
  }
  for (const { contract } of handlers) {
    if (!contracts.includes(contract)) faults.push(`${contract.kind} is handled here but not listed`);
  }
  if (faults.length > 0) throw new OrderHandlerMismatchError(faults);
  return matched;
}

/** Finds the order handlers of the process's modules. */
@Injectable()
export class OrderHandlers implements OnModuleInit {
  private matched = new Map<string, RegisteredOrder>();

  constructor(
    @Inject(ORDER_CONTRACTS) private readonly contracts: readonly OrderContract<never>[],
    private readonly discovery: DiscoveryService,
  ) {}

  onModuleInit(): void {
    const handlers: RegisteredOrder[] = [];
    for (const wrapper of this.discovery.getProviders()) {
      const metatype: unknown = wrapper.metatype;
      if (typeof metatype !== 'function') continue;
      const contract = Reflect.getMetadata(CARRIES_OUT, metatype) as OrderContract<never> | undefined;
      if (contract) handlers.push({ contract, handler: wrapper.instance as OrderHandler<never> });
    }
    this.matched = matchOrders(this.contracts, handlers);
  }

  isUrgent(kind: string): boolean {
    return this.matched.get(kind)?.contract.urgent === true;
  }

  get urgentKinds(): string[] {
    return [...this.matched.keys()].filter((kind) => this.isUrgent(kind));
  }

  get(kind: string): RegisteredOrder | undefined {
    return this.matched.get(kind);
  }
}
