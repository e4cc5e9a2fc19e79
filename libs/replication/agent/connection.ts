import { readFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { Turns } from '#libs/platform/clock';
import { DomainError } from '#libs/platform/errors';
import { connect, type ConnectOptions, type PostgresClient } from '#libs/platform/postgres';
import type { PostgresWorkload } from '#libs/sites/agent';
import { WorkloadUnreachableError } from './errors.js';

/** Never a name that synchronous_standby_names could list. */
const APPLICATION = 'mainstay-agent';

/**
 * The agent's own commits are not the agency's data: they must neither wait for a site that is away nor lengthen
 * anybody's wait. `lock_timeout` keeps them from queueing behind a long lock and so stopping everybody else.
 */
const SESSION = `SET synchronous_commit = local; SET lock_timeout = '5s'; SET default_transaction_read_only = off;
  SET search_path = pg_catalog; SET client_min_messages = error`;

export interface WorkloadConnectOptions {
  readonly database?: string;
  readonly connectionTimeoutMs?: number;
  readonly statementTimeoutMs?: number;
  readonly stream?: () => Socket;
}

/** How the agent signs in to a workload, as its configuration says. @throws when the password file is not readable. */
export async function signIn(
  workload: PostgresWorkload,
  options: WorkloadConnectOptions = {},
): Promise<ConnectOptions> {
  const password =
    workload.passwordFile === undefined ? undefined : (await readFile(workload.passwordFile, 'utf8')).trim();
  return {
    host: workload.socketDirectory ?? workload.host,
    port: workload.port,
    user: workload.user,
    applicationName: APPLICATION,
    connectionTimeoutMs: options.connectionTimeoutMs ?? 5_000,
    ...(password === undefined ? {} : { password }),
    ...(options.database === undefined ? {} : { database: options.database }),
    ...(options.statementTimeoutMs === undefined ? {} : { statementTimeoutMs: options.statementTimeoutMs }),
    ...(options.stream === undefined ? {} : { stream: options.stream }),
  };
}

/** Opens one connection of the agent's. @throws WorkloadUnreachableError */
export async function openConnection(
  workload: PostgresWorkload,
  options: WorkloadConnectOptions = {},
): Promise<PostgresClient> {
  try {
    const client = await connect(await signIn(workload, options));
    await client.query(SESSION);
    return client;
  } catch (cause) {
    throw new WorkloadUnreachableError(workload.name, cause);
  }
}

/** The database given, or the one every cluster has; the connection is closed afterwards. */
export async function withConnection<T>(
  workload: PostgresWorkload,
  work: (client: PostgresClient) => Promise<T>,
  options: WorkloadConnectOptions = {},
): Promise<T> {
  const client = await openConnection(workload, options);
  try {
    return await work(client);
  } finally {
    // One that is broken already needs no goodbye: the work has thrown.
    await client.end().catch(() => undefined);
  }
}

/**
 * One superuser's connection that is kept open: once waiting commits have filled max_connections, nobody gets in any
 * more, and only who is in already can help (facts: 97 waiters). Queries run one after another; one that does not end
 * in time takes the connection with it, and the next query opens a new one.
 */
export class KeptConnection {
  private client: PostgresClient | undefined;
  private socket: Socket | undefined;
  private readonly turns = new Turns();
  private closed = false;

  constructor(readonly workload: PostgresWorkload) {}

  /** Parameters are only for a single statement. @throws WorkloadUnreachableError when it takes longer than `withinMs`. */
  query<R extends object>(text: string, withinMs: number, parameters?: readonly unknown[]): Promise<R[]> {
    return this.session(withinMs, async (client) => {
      const result = await client.query<R>(text, parameters ? [...parameters] : undefined);
      return result.rows;
    });
  }

  /**
   * Several statements on one and the same connection, with nothing of others in between.
   *
   * @throws WorkloadUnreachableError when all of it takes longer than `withinMs`; what was sent may still be done
   */
  session<T>(withinMs: number, work: (client: PostgresClient) => Promise<T>): Promise<T> {
    return this.turns.take(() => this.bounded(withinMs, work));
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.turns.through();
    this.drop();
  }

  private async bounded<T>(withinMs: number, work: (client: PostgresClient) => Promise<T>): Promise<T> {
    if (this.closed) throw new WorkloadUnreachableError(this.workload.name, new Error('the agent is stopping'));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        // A frozen server answers neither a cancel request nor a polite goodbye: cut the line.
        this.drop();
        reject(new WorkloadUnreachableError(this.workload.name, new Error(`no answer within ${withinMs} ms`)));
      }, withinMs);
    });
    try {
      return await Promise.race([this.run(withinMs, work), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  private async run<T>(withinMs: number, work: (client: PostgresClient) => Promise<T>): Promise<T> {
    const client = this.client ?? (await this.open(withinMs));
    try {
      return await work(client);
    } catch (error) {
      // The server's own refusals leave the connection whole; a broken line does not.
      if (!isStatementError(error) && !(error instanceof DomainError)) this.drop();
      throw error;
    }
  }

  private async open(withinMs: number): Promise<PostgresClient> {
    const socket = new Socket();
    this.socket = socket;
    const client = await openConnection(this.workload, { connectionTimeoutMs: withinMs, stream: () => socket });
    if (this.socket !== socket) {
      socket.destroy();
      throw new WorkloadUnreachableError(this.workload.name, new Error('the connection came too late'));
    }
    client.once('end', () => {
      if (this.client === client) this.drop();
    });
    this.client = client;
    return client;
  }

  private drop(): void {
    this.socket?.destroy();
    this.socket = undefined;
    this.client = undefined;
  }
}

function isStatementError(error: unknown): boolean {
  if (typeof error !== 'object' || error === null || !('severity' in error)) return false;
  return error.severity === 'ERROR';
}
