import type { DataSource, QueryRunner } from 'typeorm';
import { errorText } from '#libs/platform/errors';
import type { Logger } from '#libs/platform/telemetry';
import { beforeTheChange, currentCommitHook } from './commit-hook.js';
import { GIVEN_UP_SOON } from './measuring.js';
import {
  isUuid,
  ProviderTransaction,
  SiteTransaction,
  type TenantId,
  TenantTransaction,
  type Transaction,
} from './transaction.js';

/** The part of pg's client that the unit of work needs beside TypeORM's runner. */
interface PgClient {
  query(sql: string): Promise<{ command: string } | { command: string }[]>;
}

/** COMMIT answered ROLLBACK: a statement's error had been swallowed, and nothing was written. */
export class LostTransactionError extends Error {
  constructor() {
    super('the transaction was rolled back at COMMIT: an error inside it was swallowed');
    this.name = 'LostTransactionError';
  }
}

/**
 * Runs `work` in one transaction on a connection of `source`.
 *
 * `opening` is sent in the same message as BEGIN, since round trips cost more than policies do (measured: half of the
 * throughput). TypeORM is then told that it is inside a transaction, so that nesting becomes savepoints.
 */
async function runTransaction<X extends Transaction, T>(
  source: DataSource,
  opening: string,
  make: (runner: QueryRunner) => X,
  work: (tx: X) => Promise<T>,
  log: Logger,
): Promise<T> {
  const runner = source.createQueryRunner();
  const client = (await runner.connect()) as PgClient;
  let actions: readonly (() => void)[];
  let value: T;
  try {
    await client.query(`BEGIN; ${opening}`);
    Object.assign(runner, { isTransactionActive: true, transactionDepth: 1 });
    const tx = make(runner);
    try {
      value = await work(tx);
      await currentCommitHook()?.(tx, value);
      const answer = await client.query('COMMIT');
      if (!Array.isArray(answer) && answer.command !== 'COMMIT') throw new LostTransactionError();
      actions = tx.takeCommitted();
    } catch (error) {
      await client.query('ROLLBACK').catch((rollback: unknown) => {
        log.warn({ err: rollback }, 'a transaction could not be rolled back; its connection is gone');
      });
      throw error;
    } finally {
      Object.assign(runner, { isTransactionActive: false, transactionDepth: 0 });
    }
  } finally {
    await runner.release();
  }
  for (const action of actions) {
    try {
      action();
    } catch (error) {
      log.warn({ reason: errorText(error) }, 'an action after commit failed; the sweep will do it');
    }
  }
  return value;
}

/**
 * The control plane's one accessor to its database. Work in an agency's name runs on the tenant role's pool, work of
 * staff and of the worker on the provider role's.
 */
export class UnitOfWork {
  constructor(
    private readonly tenants: DataSource,
    private readonly providers: DataSource,
    /** The provider role again, for {@link lookUp}. */
    private readonly callers: DataSource,
    private readonly log: Logger,
  ) {}

  /** @throws TypeError when the tenant's id is no UUID: it would become part of a statement. */
  tenant<T>(tenantId: TenantId, work: (tx: TenantTransaction) => Promise<T>): Promise<T> {
    if (!isUuid(tenantId)) throw new TypeError('a tenant id must be a UUID');
    return runTransaction(
      this.tenants,
      `SELECT set_config('app.tenant_id', '${tenantId}', true)`,
      (runner) => new TenantTransaction(runner, tenantId),
      work,
      this.log,
    );
  }

  provider<T>(work: (tx: ProviderTransaction) => Promise<T>): Promise<T> {
    return runTransaction(this.providers, '', (runner) => new ProviderTransaction(runner), work, this.log);
  }

  /** Reads figures, as the provider role; a statement is given up after two seconds. */
  measure<T>(read: (tx: ProviderTransaction) => Promise<T>): Promise<T> {
    return runTransaction(this.providers, GIVEN_UP_SOON, (runner) => new ProviderTransaction(runner), read, this.log);
  }

  /**
   * Looks up who calls, as the provider role, on connections that nothing else may take: however many sign-ins or
   * sign-ups wait for theirs, a valid key is still found.
   */
  lookUp<T>(work: (tx: ProviderTransaction) => Promise<T>): Promise<T> {
    return beforeTheChange(() =>
      runTransaction(this.callers, '', (runner) => new ProviderTransaction(runner), work, this.log),
    );
  }
}

/** A warm site's one accessor to its own database. */
export class SiteUnitOfWork {
  constructor(
    private readonly source: DataSource,
    private readonly log: Logger,
  ) {}

  run<T>(work: (tx: SiteTransaction) => Promise<T>): Promise<T> {
    return runTransaction(this.source, '', (runner) => new SiteTransaction(runner), work, this.log);
  }

  /** Reads figures; a statement is given up after two seconds. */
  measure<T>(read: (tx: SiteTransaction) => Promise<T>): Promise<T> {
    return runTransaction(this.source, GIVEN_UP_SOON, (runner) => new SiteTransaction(runner), read, this.log);
  }
}
