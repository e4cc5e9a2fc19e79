import { Injectable, type OnModuleInit, SetMetadata } from '@nestjs/common';
import { DiscoveryService } from '@nestjs/core';
import type { ResultContract, SiteResult, SiteSnapshot } from '#contracts/sites';
import type { ProviderTransaction } from '#libs/platform/database';

/** A site's result as it is applied; the payload has been checked against its contract. */
export interface AppliedResult<P> {
  /** Who says so. A handler checks that this site has anything to say of what the payload names. */
  readonly siteId: string;
  readonly id: string;
  readonly orderId: string | null;
  readonly tenantId: string | null;
  /** By the site's clock. */
  readonly at: Date;
  readonly payload: P;
}

/**
 * Applies a result in the transaction that moves the cursor past it: exactly once. Nothing that cannot be rolled back
 * may happen in it; write a row (a mail, an order, an event) instead.
 */
export interface ResultHandler<P> {
  apply(tx: ProviderTransaction, result: AppliedResult<P>): Promise<void>;
}

const APPLIES = Symbol('mainstay result contract');

type ResultHandlerClass<P> = new (...dependencies: never[]) => ResultHandler<P>;

/** Marks an injectable class as a handler of a result. Several may handle one: a failed order is many domains'. */
export function AppliesResult<P>(contract: ResultContract<P>): <C extends ResultHandlerClass<P>>(target: C) => void {
  return (target) => {
    SetMetadata(APPLIES, contract)(target);
    Injectable()(target);
  };
}

/** Nobody here knows results of this kind. */
export class UnknownResultError extends Error {
  constructor(kind: string) {
    super(`no handler for results of kind ${kind}`);
    this.name = 'UnknownResultError';
  }
}

/** Finds the handlers of the process's modules, by kind. */
@Injectable()
export class ResultHandlers implements OnModuleInit {
  private readonly byKind = new Map<string, { contract: ResultContract; handler: ResultHandler<unknown> }[]>();

  constructor(private readonly discovery: DiscoveryService) {}

  onModuleInit(): void {
    for (const wrapper of this.discovery.getProviders()) {
      const metatype: unknown = wrapper.metatype;
      if (typeof metatype !== 'function') continue;
      const contract = Reflect.getMetadata(APPLIES, metatype) as ResultContract | undefined;
      if (!contract) continue;
      const known = this.byKind.get(contract.kind) ?? [];
      this.byKind.set(contract.kind, [...known, { contract, handler: wrapper.instance as ResultHandler<unknown> }]);
    }
  }

  /** @throws UnknownResultError and ZodError for what can never be applied, and whatever a handler throws. */
  async apply(
    tx: ProviderTransaction,
    result: Omit<SiteResult, 'seq' | 'at'> & { siteId: string; at: Date },
  ): Promise<void> {
    const handlers = this.byKind.get(result.kind);
    if (!handlers) throw new UnknownResultError(result.kind);
    for (const { contract, handler } of handlers) {
      await handler.apply(tx, { ...result, payload: contract.payload.parse(result.payload) });
    }
  }
}

/** Keeps what a snapshot says of one domain: the newest counts, losing one loses nothing. */
export interface SnapshotStore {
  store(tx: ProviderTransaction, snapshot: SiteSnapshot): Promise<void>;
}

/** Where domains register what they keep of snapshots (in their `onModuleInit`). */
@Injectable()
export class SnapshotStores {
  private readonly stores: SnapshotStore[] = [];

  register(store: SnapshotStore): void {
    this.stores.push(store);
  }

  async store(tx: ProviderTransaction, snapshot: SiteSnapshot): Promise<void> {
    for (const store of this.stores) await store.store(tx, snapshot);
  }
}
