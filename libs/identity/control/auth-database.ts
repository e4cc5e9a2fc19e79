import {
  CompiledQuery,
  type DatabaseConnection,
  type DatabaseIntrospector,
  type Dialect,
  type DialectAdapter,
  type Driver,
  type Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type QueryCompiler,
  type QueryResult,
} from 'kysely';
import { AsyncLocalStorage } from 'node:async_hooks';
import type { ProviderTransaction } from '#libs/platform/database';

const open = new AsyncLocalStorage<ProviderTransaction>();

/** Runs `work` so that better-auth's statements go into `tx`: its rows and ours commit together or not at all. */
export const insideTransaction = <T>(tx: ProviderTransaction, work: () => Promise<T>): Promise<T> => open.run(tx, work);

/** better-auth was called outside {@link insideTransaction}: it has no connection of its own. */
export class NoTransactionError extends Error {
  constructor() {
    super('better-auth was called outside a unit of work');
    this.name = 'NoTransactionError';
  }
}

/** A connection that is the open transaction; what begins and ends within it are savepoints. */
class OpenConnection implements DatabaseConnection {
  private depth = 0;

  constructor(private readonly tx: ProviderTransaction) {}

  async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    const { rows, count } = await this.tx.run<R>(query.sql, query.parameters);
    return { rows, numAffectedRows: BigInt(count) };
  }

  // Kysely's interface wants it; better-auth reads no streams.
  streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new Error('streaming is not supported here');
  }

  async begin(): Promise<void> {
    await this.tx.run(`SAVEPOINT auth_${++this.depth}`);
  }

  async commit(): Promise<void> {
    await this.tx.run(`RELEASE SAVEPOINT auth_${this.depth--}`);
  }

  async rollback(): Promise<void> {
    await this.tx.run(`ROLLBACK TO SAVEPOINT auth_${this.depth--}`);
  }
}

class OpenTransactionDriver implements Driver {
  async init(): Promise<void> {}

  async acquireConnection(): Promise<DatabaseConnection> {
    const tx = open.getStore();
    if (!tx) throw new NoTransactionError();
    return new OpenConnection(tx);
  }

  beginTransaction(connection: DatabaseConnection): Promise<void> {
    return (connection as OpenConnection).begin();
  }

  commitTransaction(connection: DatabaseConnection): Promise<void> {
    return (connection as OpenConnection).commit();
  }

  rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    return (connection as OpenConnection).rollback();
  }

  async releaseConnection(): Promise<void> {}

  async destroy(): Promise<void> {}
}

/** A Kysely dialect without a pool: each statement goes into the unit of work that is open where it is called. */
export class OpenTransactionDialect implements Dialect {
  createDriver(): Driver {
    return new OpenTransactionDriver();
  }

  createQueryCompiler(): QueryCompiler {
    return new PostgresQueryCompiler();
  }

  createAdapter(): DialectAdapter {
    return new PostgresAdapter();
  }

  createIntrospector(database: Kysely<unknown>): DatabaseIntrospector {
    return new PostgresIntrospector(database);
  }
}
