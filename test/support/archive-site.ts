import { randomUUID } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  type ArchivePolicy,
  type ArchiveReport,
  archiveResult,
  type EnsureArchive,
  endArchiveOrder,
  ensureArchiveOrder,
  type KeyMode,
  type PointReport,
  pointResult,
  type RunReport,
  runArchiveOrder,
  runResult,
  type SourceKind,
} from '#contracts/archive';
import type { OrderContract, QuestionContract, ResultContract } from '#contracts/sites';
import { ARCHIVE_JOBS } from '#libs/archive/site';
import { createKeyPair, signDocument } from '#libs/link';
import { waitFor } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { freePort } from '#libs/platform/postgres';
import { AgentUnreachableError, answerFault, OrderIntake, readJson, SiteAnswers, SocketServer } from '#libs/sites/site';
import type { AgentUnderTest } from './archiving-agent.js';
import { type ArchiveSiteHome, archiveSiteModule } from './archive-site-module.js';
import { createSiteDatabase, type SiteDatabase } from './databases.js';
import { quickSweeps } from './quick-sweeps.js';

/** On a machine with much else to do. */
const SOON = { timeoutMs: 55_000, everyMs: 100 };

/** An archive of the test's, as the control plane knows it. */
export interface KnownArchive {
  readonly archiveId: string;
  readonly workloadId: string;
  readonly agentId: string;
  readonly workloadName: string;
}

/** What goes over the tunnel, in the test's hands. */
export class TestTunnel {
  alive = true;
  readonly called: string[] = [];
  /** Called before each command is handed on. */
  before: (path: string) => Promise<void> = () => Promise.resolve();
  private readonly agents = new Map<string, AgentUnderTest>();
  private readonly server: SocketServer;

  constructor(linkSocket: string) {
    this.server = new SocketServer(
      linkSocket,
      (request, response) => this.answer(request, response),
      () => undefined,
    );
  }

  listen(): Promise<void> {
    return this.server.listen();
  }

  connect(agent: AgentUnderTest, agentId: string = randomUUID()): string {
    this.agents.set(agentId, agent);
    return agentId;
  }

  close(): Promise<void> {
    return this.server.close();
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, agentId = '', command = ''] = /^\/agents\/([^/]+)\/[^/]+(\/.*)$/.exec(request.url ?? '') ?? [];
    const body = await readJson(request);
    const agent = this.agents.get(agentId);
    if (!this.alive || !agent) return answerFault(response, new AgentUnreachableError(), true);
    await this.before(command);
    this.called.push(command);
    const json = JSON.stringify(await agent.carryOut(command, body));
    response.writeHead(200, { 'content-type': 'application/json' }).end(json);
  }
}

/** A warm site that archives: its own database, vault, restic and jobs; agents at its tunnel; orders as they come. */
export class ArchiveSite {
  readonly tenantId = randomUUID();
  readonly tunnel: TestTunnel;
  private readonly signing: { publicKey: string; privateKey: string };
  private app: INestApplicationContext | undefined;
  private numbers = 0;

  private constructor(
    readonly home: ArchiveSiteHome,
    private readonly database: SiteDatabase,
    signing: { publicKey: string; privateKey: string },
  ) {
    this.signing = signing;
    this.tunnel = new TestTunnel(path.join(home.directory, 'link.sock'));
  }

  static async start(): Promise<ArchiveSite> {
    const directory = await mkdtemp(path.join(tmpdir(), 'mainstay-archive-site-'));
    // restic runs as a user of its own.
    await chmod(directory, 0o711);
    const database = await createSiteDatabase();
    const signing = createKeyPair();
    const vaultPort = await freePort();
    const home = { siteId: randomUUID(), directory, url: database.url, vaultPort, orderPublicKey: signing.publicKey };
    const site = new ArchiveSite(home, database, signing);
    await site.tunnel.listen();
    await site.run();
    return site;
  }

  /** @param works false: it takes orders in and answers, and nothing is carried out */
  async run(works = true, changes: Partial<ArchiveSiteHome> = {}): Promise<void> {
    const module = archiveSiteModule({ ...this.home, ...changes }, 'silent', works);
    this.app = await NestFactory.createApplicationContext(module, { logger: false, abortOnError: false });
    if (works) await quickSweeps(this.app, ARCHIVE_JOBS);
  }

  async stop(): Promise<void> {
    await this.app?.close();
    this.app = undefined;
  }

  async close(): Promise<void> {
    await this.stop();
    await this.tunnel.close();
    await this.database.drop();
    await rm(this.home.directory, { recursive: true, force: true });
  }

  get<T>(token: abstract new (...dependencies: never[]) => T): T {
    if (!this.app) throw new Error('the site is stopped');
    return this.app.get<T>(token, { strict: false });
  }

  rows<R>(sql: string, parameters: readonly unknown[] = []): Promise<R[]> {
    return this.get(SiteUnitOfWork).run((tx) => tx.query<R>(sql, parameters));
  }

  /** Signs an order and gives it to the site, as the endpoint does. Answers its id. */
  async order<P>(contract: OrderContract<P>, payload: P, tenantId = this.tenantId): Promise<string> {
    const content = {
      id: randomUUID() as string,
      siteId: this.home.siteId,
      number: (this.numbers += 1),
      kind: contract.kind,
      tenantId,
      issuedAt: new Date().toISOString(),
      payload: payload as Record<string, unknown>,
    };
    await this.get(OrderIntake).receive({ ...content, signature: signDocument(content, this.signing.privateKey) });
    return content.id;
  }

  async ask<P, A>(
    contract: QuestionContract<P, A>,
    payload: P,
    tenantId = this.tenantId,
  ): Promise<Awaited<ReturnType<SiteAnswers['answer']>>> {
    const signal = new AbortController().signal;
    return this.get(SiteAnswers).answer({ kind: contract.kind, tenantId, payload }, signal);
  }

  /** What the control plane is told, of one kind, oldest first. */
  async results<P>(contract: ResultContract<P>): Promise<P[]> {
    const sql = `SELECT payload FROM site_result WHERE kind = $1 ORDER BY written`;
    return (await this.rows<{ payload: P }>(sql, [contract.kind])).map(({ payload }) => payload);
  }

  /** Orders an archive of a workload of an agent's, and waits until it is ready. */
  async archive(
    agentId: string,
    workloadName: string,
    wish: Partial<EnsureArchive> & { keyMode?: KeyMode; source?: SourceKind; policy?: ArchivePolicy } = {},
  ): Promise<KnownArchive> {
    const known = { archiveId: randomUUID(), workloadId: randomUUID(), agentId, workloadName };
    await this.order(ensureArchiveOrder, {
      ...known,
      source: 'files',
      keyMode: 'escrowed',
      policy: policyOf(),
      paused: false,
      second: null,
      ...wish,
    });
    await this.state(known, (report) => report.state === 'active' || report.state === 'paused');
    return known;
  }

  /** The newest state that was told and that fits. */
  state({ archiveId }: KnownArchive, fits: (report: ArchiveReport) => boolean): Promise<ArchiveReport> {
    const look = async () =>
      (await this.results(archiveResult)).findLast((each) => each.archiveId === archiveId && fits(each));
    return waitFor('the state of an archive', look, SOON);
  }

  async request({ archiveId, workloadId }: KnownArchive): Promise<string> {
    const runId = randomUUID();
    await this.order(runArchiveOrder, { archiveId, workloadId, runId });
    return runId;
  }

  /** The first telling of a run that fits. */
  told(runId: string, fits: (report: RunReport) => boolean): Promise<RunReport> {
    const look = async () => (await this.results(runResult)).find((each) => each.runId === runId && fits(each));
    return waitFor(`run ${runId}`, look, SOON);
  }

  ended(runId: string): Promise<RunReport> {
    return this.told(runId, ({ endedAt }) => endedAt !== null);
  }

  /** Of each point what was told last. */
  async points({ archiveId }: KnownArchive): Promise<PointReport[]> {
    const told = new Map<string, PointReport>();
    for (const each of await this.results(pointResult))
      if (each.archiveId === archiveId) told.set(each.snapshotId, each);
    return [...told.values()];
  }

  async end({ archiveId, workloadId }: KnownArchive): Promise<void> {
    await this.order(endArchiveOrder, { archiveId, workloadId });
  }
}

/** Once a week: what a test does not ask for does not happen in it, but for the first run. */
export function policyOf(over: Partial<ArchivePolicy> = {}): ArchivePolicy {
  return {
    schedule: { every: 'week', on: 'sunday', at: '03:00' },
    timeZone: 'America/Los_Angeles',
    retention: { hours: 0, days: 30, weeks: 0, months: 0, years: 0 },
    minimumAgeDays: 1,
    excludes: [],
    bandwidthBytesPerSecond: null,
    quietHours: null,
    checks: [],
    quotaBytes: null,
    ...over,
  };
}
