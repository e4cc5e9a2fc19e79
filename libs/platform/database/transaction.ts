import type { EntityTarget, ObjectLiteral, QueryRunner, Repository } from 'typeorm';

/** The id of an agency: a UUID in lower case. */
export type TenantId = string;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** True for a UUID in lower case: checked before a value becomes part of a `SET` statement or a query on a uuid column. */
export const isUuid = (value: string): boolean => UUID.test(value);

/**
 * One database transaction, handed as the first argument to everything that reads or writes. Repositories come from
 * here only, so that each statement sees the transaction's tenant.
 */
export class Transaction {
  private readonly committed: (() => void)[] = [];

  constructor(private readonly runner: QueryRunner) {}

  /** The repository of an entity, bound to this transaction. */
  repository<E extends ObjectLiteral>(entity: EntityTarget<E>): Repository<E> {
    return this.runner.manager.getRepository(entity);
  }

  /** Runs SQL and returns its rows. Values go in as parameters, never into the text. */
  async query<R>(sql: string, parameters: readonly unknown[] = []): Promise<R[]> {
    const result: unknown = await this.runner.query(sql, [...parameters], true);
    return (result as { records: R[] }).records;
  }

  /** Runs a change and returns how many rows it touched: the way to check an `UPDATE … WHERE version = …`. */
  async execute(sql: string, parameters: readonly unknown[] = []): Promise<number> {
    const result: unknown = await this.runner.query(sql, [...parameters], true);
    return (result as { affected?: number }).affected ?? 0;
  }

  /** Runs SQL and returns its rows and how many it touched: for a query builder that wants both. */
  async run<R>(
    sql: string,
    parameters: readonly unknown[] = [],
  ): Promise<{ readonly rows: R[]; readonly count: number }> {
    const result = (await this.runner.query(sql, [...parameters], true)) as { records?: R[]; affected?: number };
    return { rows: result.records ?? [], count: result.affected ?? 0 };
  }

  /** Something to do once the rows are there, such as waking a queue. It must not be needed: a sweep does it too. */
  afterCommit(action: () => void): void {
    this.committed.push(action);
  }

  /** Runs `work` in a savepoint: its failure leaves the rest of the transaction usable. */
  async savepoint<T>(work: () => Promise<T>): Promise<T> {
    await this.runner.startTransaction();
    try {
      const value = await work();
      await this.runner.commitTransaction();
      return value;
    } catch (error) {
      await this.runner.rollbackTransaction();
      throw error;
    }
  }

  /** For the unit of work alone: what to run after COMMIT. */
  takeCommitted(): readonly (() => void)[] {
    return this.committed.splice(0);
  }
}

/** A transaction in one agency's name: row-level security lets it see that agency's rows only. */
export class TenantTransaction extends Transaction {
  constructor(
    runner: QueryRunner,
    readonly tenantId: TenantId,
  ) {
    super(runner);
  }
}

/** A transaction of provider staff or of the worker, under the provider role's own policies. */
export class ProviderTransaction extends Transaction {
  readonly provider = true;
}

/** A transaction on a warm site's own database, which knows no tenants' policies: a site's rows are all its own. */
export class SiteTransaction extends Transaction {
  readonly site = true;
}
