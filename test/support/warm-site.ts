import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect as dial, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { INestApplicationContext } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import type { FailoverPayload } from '#contracts/failover';
import { type ProtectPayload, type StandbyHealth, unprotectOrder } from '#contracts/replication';
import type { PeerSite, SiteRole } from '#contracts/sites';
import { waitFor } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { ownedDirectory } from '#libs/platform/postgres';
import { PeerPatience, StepBoundaries } from '#libs/failover/site';
import { FailoverOrderHandler } from '../../libs/failover/site/orders/failover.order.js';
import { CancelFailoverHandler, ConfirmFailoverHandler } from '../../libs/failover/site/orders/steer.orders.js';
import { PulseAnswers, PulseRequests, StandbyHealths } from '#libs/replication/site';
import { ProtectOrderHandler, UnprotectOrderHandler } from '../../libs/replication/site/orders/protect.order.js';
import {
  AgentCommands,
  askSocket,
  type CallOptions,
  PEER_CALLER_HEADER,
  type PeerAddress,
  PeerRefusedError,
  PeerSites,
  PeerUnreachableError,
  ProcessDriver,
  readJson,
  type SiteCommand,
} from '#libs/sites/site';
import type { Readable } from 'node:stream';
import { TEST_NAMES } from './agency.js';
import type { AgencyDesk } from './agency-desk.js';
import { siteModule } from './site-module.js';
import { createSiteDatabase, type SiteDatabase } from './databases.js';

export interface SiteHome {
  readonly siteId: string;
  readonly directory: string;
  readonly database: SiteDatabase;
}

/** Other sites by their id, reached over their sockets as the link would. */
const SITES = new Map<string, WarmSite>();

class DirectPeers extends PeerSites {
  /** Sites that do not answer this one. */
  readonly lost = new Set<string>();

  constructor(private readonly siteId: string) {
    super();
  }

  async call<I, O>(address: PeerAddress, command: SiteCommand<I, O>, input: I, options: CallOptions): Promise<O> {
    const timeout = AbortSignal.timeout(options.timeoutMs);
    const answer = await this.ask(address, command.path, command.input.parse(input), timeout);
    return command.output.parse(await readJson(answer));
  }

  async stream(address: PeerAddress, path_: string, json: unknown): Promise<Readable> {
    return this.ask(address, path_, json, new AbortController().signal);
  }

  private async ask({ peer, workloadId }: PeerAddress, path_: string, json: unknown, signal: AbortSignal) {
    const other = SITES.get(peer.siteId);
    if (!other || this.lost.has(peer.siteId)) throw new PeerUnreachableError();
    const answer = await askSocket({
      socketPath: path.join(other.home.directory, 'site.sock'),
      method: 'POST',
      path: path_,
      headers: { [PEER_CALLER_HEADER]: JSON.stringify({ siteId: this.siteId, workloadId }) },
      body: JSON.stringify(json),
      signal,
    }).catch((error: unknown) => {
      throw new PeerUnreachableError({ cause: error });
    });
    if (answer.status < 400) return answer.body;
    const { code, message } = (await readJson(answer.body)) as { code: string; message: string };
    throw new PeerRefusedError(code, message);
  }
}

export interface WarmSiteOptions {
  readonly role: SiteRole;
  readonly desk: AgencyDesk;
  readonly workloadId: string;
  readonly tenantId: string;
  readonly boundaries?: StepBoundaries;
  readonly level?: string;
}

/** One warm site of a test: its process's modules in this process, its PostgreSQL servers, and plain TCP for the tunnel. */
export class WarmSite {
  private forwarder: Server | undefined;
  private readonly sockets = new Set<Socket>();
  private pulsing: NodeJS.Timeout | undefined;
  private orders = 0;
  app!: INestApplicationContext;
  readonly peers: DirectPeers;
  /** Packets between the agency and this site are lost: nothing answers, nothing is refused. */
  cut = false;

  private constructor(
    readonly home: SiteHome,
    readonly options: WarmSiteOptions,
  ) {
    this.peers = new DirectPeers(home.siteId);
  }

  static async start(options: WarmSiteOptions): Promise<WarmSite> {
    const directory = await mkdtemp(path.join(tmpdir(), 'mainstay-site-'));
    await ownedDirectory(directory);
    const home = { siteId: randomUUID(), directory, database: await createSiteDatabase() };
    const site = new WarmSite(home, options);
    SITES.set(home.siteId, site);
    await site.boot();
    await site.work.run((tx) =>
      tx.execute(`INSERT INTO agent_identity (agent_id, tenant_id, name, public_key) VALUES ($1, $2, 'agent', 'key')`, [
        options.desk.agentId,
        options.tenantId,
      ]),
    );
    return site;
  }

  /** Starts the process's modules, as after a kill. */
  async boot(): Promise<void> {
    const building = Test.createTestingModule({
      imports: [siteModule({ ...this.home, url: this.home.database.url }, this.options.level)],
    })
      .overrideProvider(AgentCommands)
      .useValue(this.options.desk.commands)
      .overrideProvider(PeerSites)
      .useValue(this.peers)
      // A busy test machine is no lost site.
      .overrideProvider(PeerPatience)
      .useValue({ milliseconds: 15_000 });
    if (this.options.boundaries) building.overrideProvider(StepBoundaries).useValue(this.options.boundaries);
    const module = await building.compile();
    await module.init();
    this.app = module;
    this.pulsing = setInterval(() => void this.pulse(), 300);
  }

  async shutdown(): Promise<void> {
    clearInterval(this.pulsing);
    await this.app.close();
  }

  /** Leaves the database and the orders of this process usable, and lets other processes do the jobs. */
  async stopWorking(): Promise<void> {
    await this.shutdown();
    const module = await Test.createTestingModule({
      imports: [siteModule({ ...this.home, url: this.home.database.url }, this.options.level, false)],
    })
      .overrideProvider(AgentCommands)
      .useValue(this.options.desk.commands)
      .overrideProvider(PeerSites)
      .useValue(this.peers)
      .compile();
    // Not initialised: handlers and rows only.
    this.app = module;
  }

  get work(): SiteUnitOfWork {
    return this.app.get(SiteUnitOfWork);
  }

  get driver(): ProcessDriver {
    return new ProcessDriver({ root: path.join(this.home.directory, 'standbys'), durable: false });
  }

  /** As another site knows this one. */
  get asPeer(): PeerSite {
    return {
      siteId: this.home.siteId,
      host: '127.0.0.1',
      port: 1,
      certificateFingerprint: '0'.repeat(64),
      publicKey: 'key',
    };
  }

  async protect(over: Partial<ProtectPayload> = {}): Promise<void> {
    const { workloadId, role, desk, tenantId } = this.options;
    await this.app.get(ProtectOrderHandler).carryOut({
      id: randomUUID(),
      number: ++this.orders,
      tenantId,
      payload: {
        workloadId,
        agentId: desk.agentId,
        workloadName: desk.agency.workload.name,
        role,
        mode: 'strict',
        epoch: 1,
        names: TEST_NAMES,
        peer: null,
        bandwidthBytesPerSecond: null,
        paused: false,
        rebootUntil: null,
        ...over,
      },
    });
    await this.forward();
  }

  async confirm(runId: string): Promise<void> {
    const payload = { runId, acceptedLoss: { kind: 'unknown' }, oldServer: 'destroyed' } as const;
    const order = { id: randomUUID(), number: ++this.orders, tenantId: this.options.tenantId, payload };
    await this.app.get(ConfirmFailoverHandler).carryOut(order);
  }

  async cancel(runId: string): Promise<void> {
    const order = { id: randomUUID(), number: ++this.orders, tenantId: this.options.tenantId, payload: { runId } };
    await this.app.get(CancelFailoverHandler).carryOut(order);
  }

  /** SQL as the agency's superuser on this site's server. */
  async sql<R extends object>(text: string): Promise<R[]> {
    const client = await this.driver.connect(this.options.workloadId, 'test');
    try {
      return (await client.query<R>(text)).rows;
    } finally {
      await client.end();
    }
  }

  async unprotect(): Promise<void> {
    const { workloadId, tenantId } = this.options;
    const payload = unprotectOrder.payload.parse({ workloadId });
    await this.app.get(UnprotectOrderHandler).carryOut({ id: randomUUID(), number: ++this.orders, tenantId, payload });
  }

  /** Delivers the order as the site's endpoint does: stored and acknowledged first, then carried out. */
  async failover(over: Partial<FailoverPayload> = {}): Promise<string> {
    const { workloadId, tenantId } = this.options;
    const payload: FailoverPayload = {
      runId: randomUUID(),
      workloadId,
      declaration: 1,
      epoch: 2,
      oldServer: 'not-asked',
      acceptedLoss: { kind: 'none' },
      noDegradeGranted: true,
      names: TEST_NAMES,
      otherSite: null,
      ...over,
    };
    const order = { id: randomUUID(), number: ++this.orders, tenantId, payload };
    const handler = this.app.get(FailoverOrderHandler);
    await this.work.run((tx) => handler.received(tx, order));
    await handler.carryOut(order);
    return payload.runId;
  }

  async health(): Promise<StandbyHealth | undefined> {
    return (await this.app.get(StandbyHealths).all())[0];
  }

  async until(what: string, condition: (health: StandbyHealth) => boolean, timeoutMs = 90_000): Promise<StandbyHealth> {
    let last: StandbyHealth | undefined;
    try {
      return await waitFor(
        what,
        async () => {
          last = await this.health();
          return last && condition(last) ? last : undefined;
        },
        { timeoutMs, everyMs: 100 },
      );
    } catch (error) {
      throw new Error(`${what}: ${JSON.stringify(last)}`, { cause: error });
    }
  }

  /** Results of one kind, oldest first. */
  async results<P>(kind: string): Promise<P[]> {
    const rows = await this.work.run((tx) =>
      tx.query<{ payload: P }>('SELECT payload FROM site_result WHERE kind = $1 ORDER BY written', [kind]),
    );
    return rows.map(({ payload }) => payload);
  }

  /** What steps said when they ended, by step. */
  async steps(runId: string): Promise<Record<string, { state: string; evidence: Record<string, unknown> }>> {
    const rows = await this.work.run((tx) =>
      tx.query<{ step: string; state: string; evidence: Record<string, unknown> }>(
        'SELECT step, state, evidence FROM failover_step WHERE run_id = $1',
        [runId],
      ),
    );
    return Object.fromEntries(rows.map(({ step, ...rest }) => [step, rest]));
  }

  async runState(runId: string): Promise<string | undefined> {
    const rows = await this.work.run((tx) =>
      tx.query<{ state: string }>('SELECT state FROM failover_run WHERE id = $1', [runId]),
    );
    return rows[0]?.state;
  }

  async finished(runId: string, timeoutMs = 60_000): Promise<{ state: string; report: Record<string, never> }> {
    return waitFor(
      'the run to end',
      async () =>
        (await this.results<{ state: string; report: Record<string, never> }>('failover.finished')).find(
          ({ report }) => (report['runId'] as unknown) === runId,
        ),
      { timeoutMs },
    );
  }

  /** Forgets the line: connections stay open and silent. */
  freeze(): void {
    this.cut = true;
    for (const socket of this.sockets) socket.pause().unpipe();
  }

  /** The line is back: what was open is broken, and is made anew. */
  thaw(): void {
    this.cut = false;
    for (const socket of this.sockets) socket.destroy();
  }

  async close(): Promise<void> {
    SITES.delete(this.home.siteId);
    await this.shutdown();
    for (const socket of this.sockets) socket.destroy();
    this.forwarder?.close();
    await this.driver.remove(this.options.workloadId);
    await this.home.database.drop();
    await rm(this.home.directory, { recursive: true, force: true });
  }

  private async pulse(): Promise<void> {
    if (this.cut) return;
    const { desk } = this.options;
    try {
      const pulse = await this.app.get(PulseRequests).prepare(desk.agentId);
      if (!pulse) return;
      const workloads = await desk.pulse(pulse.request);
      if (!this.cut) await this.app.get(PulseAnswers).record(pulse, { instanceId: 'test', workloads });
    } catch {
      // A dead agent gives no answer, and a site that is closing takes none.
      return;
    }
  }

  private async forward(): Promise<void> {
    if (this.forwarder) return;
    const row = () =>
      this.work.run((tx) =>
        tx.query<{ forward_port: number | null; follow: string; peer: PeerSite | null }>(
          'SELECT forward_port, follow, peer FROM standby',
        ),
      );
    const port = await waitFor('a forwarder to be wanted', async () => (await row())[0]?.forward_port, {
      timeoutMs: 30_000,
    });
    const forwarder = createServer((near) => {
      near.on('error', () => near.destroy());
      const reached = this.target(row).catch(() => undefined);
      void reached.then((target) => {
        if (target === undefined) return near.destroy();
        const far = dial(target.port, '127.0.0.1');
        for (const socket of [near, far]) {
          this.sockets.add(socket);
          socket.setNoDelay(true).on('error', () => socket.destroy());
          socket.on('close', () => {
            this.sockets.delete(socket);
            near.destroy();
            far.destroy();
          });
        }
        if (!this.cut || target.peer) near.pipe(far).pipe(near);
        return undefined;
      });
    });
    await new Promise<void>((resolve) => forwarder.listen(port, '127.0.0.1', resolve));
    this.forwarder = forwarder;
  }

  private async target(
    row: () => Promise<{ follow: string; peer: PeerSite | null }[]>,
  ): Promise<{ port: number; peer: boolean } | undefined> {
    const [standby] = await row();
    if (standby?.follow !== 'peer') return { port: this.options.desk.agency.port, peer: false };
    const other = standby.peer && SITES.get(standby.peer.siteId);
    if (!other || this.peers.lost.has(other.home.siteId)) return undefined;
    return { port: (await other.driver.endpoint(this.options.workloadId)).port, peer: true };
  }
}
