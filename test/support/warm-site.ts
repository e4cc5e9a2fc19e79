import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { INestApplicationContext } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import type { FailoverPayload, StandAside } from '#contracts/failover';
import { type ProtectPayload, type StandbyHealth, unprotectOrder } from '#contracts/replication';
import type { PeerSite, SiteRole } from '#contracts/sites';
import { waitFor } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { keptDirectory } from '#libs/platform/postgres';
import { PeerPatience } from '#libs/failover/site';
import { FailoverOrderHandler } from '../../libs/failover/site/orders/failover.order.js';
import { StandAsideHandler } from '../../libs/failover/site/orders/stand-aside.order.js';
import { CancelFailoverHandler, ConfirmFailoverHandler } from '../../libs/failover/site/orders/steer.orders.js';
import { PulseAnswers, PulseRequests, StandbyHealths } from '#libs/replication/site';
import { ProtectOrderHandler, UnprotectOrderHandler } from '../../libs/replication/site/orders/protect.order.js';
import { AgentCommands, PeerSites, ProcessDriver, type ProcessDriverOptions } from '#libs/sites/site';
import { TEST_NAMES } from './agency.js';
import type { AgencyDesk } from './agency-desk.js';
import { DirectLine, DirectPeers, type ForwardTarget, KNOWN_SITES } from './direct-line.js';
import { siteModule } from './site-module.js';
import { SiteRecords } from './site-records.js';
import { createSiteDatabase, type SiteDatabase } from './databases.js';

export interface SiteHome {
  readonly siteId: string;
  readonly directory: string;
  readonly database: SiteDatabase;
}

export interface WarmSiteOptions {
  readonly role: SiteRole;
  readonly desk: AgencyDesk;
  readonly workloadId: string;
  readonly tenantId: string;
  /** A disk of its own for the standbys; in the site's folder when left out. */
  readonly standbys?: ProcessDriverOptions;
  /** For a host of another kind. */
  readonly driver?: (options: ProcessDriverOptions) => ProcessDriver;
}

/** One warm site of a test: its process's modules in this process, its PostgreSQL servers, and plain TCP for the tunnel. */
export class WarmSite extends SiteRecords {
  private readonly line = new DirectLine(() => this.target());
  private pulsing: NodeJS.Timeout | undefined;
  private orders = 0;
  app!: INestApplicationContext;
  readonly peers: DirectPeers;

  private constructor(
    readonly home: SiteHome,
    readonly options: WarmSiteOptions,
  ) {
    super();
    this.peers = new DirectPeers(home.siteId);
  }

  static async start(options: WarmSiteOptions): Promise<WarmSite> {
    const directory = await mkdtemp(path.join(tmpdir(), 'mainstay-site-'));
    await keptDirectory(directory);
    const home = { siteId: randomUUID(), directory, database: await createSiteDatabase() };
    const site = new WarmSite(home, options);
    KNOWN_SITES.set(home.siteId, {
      siteId: home.siteId,
      directory,
      standbyPort: async () => (await site.driver.endpoint(options.workloadId)).port,
    });
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
    const module = await this.compile(true);
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
    // Not initialised: handlers and rows only.
    this.app = await this.compile(false);
  }

  private compile(works: boolean): Promise<TestingModule> {
    return (
      Test.createTestingModule({
        imports: [siteModule({ ...this.home, url: this.home.database.url, driver: this.driver }, 'silent', works)],
      })
        .overrideProvider(AgentCommands)
        .useValue(this.options.desk.commands)
        .overrideProvider(PeerSites)
        .useValue(this.peers)
        // A busy test machine is no lost site.
        .overrideProvider(PeerPatience)
        .useValue({ milliseconds: 15_000 })
        .compile()
    );
  }

  get work(): SiteUnitOfWork {
    return this.app.get(SiteUnitOfWork);
  }

  get driver(): ProcessDriver {
    return this.options.driver?.(this.standbys) ?? new ProcessDriver(this.standbys);
  }

  private get standbys(): ProcessDriverOptions {
    return this.options.standbys ?? { root: path.join(this.home.directory, 'standbys'), durable: false };
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

  /** Delivers what the control plane says of a promotion at the other site. */
  async standAside(word: StandAside['word'], epoch: number): Promise<void> {
    const { workloadId, tenantId } = this.options;
    const told = { promotedAtLsn: null, promotedTimeline: null };
    const payload: StandAside = { workloadId, epoch, word, runId: randomUUID(), ...told };
    await this.app.get(StandAsideHandler).carryOut({ id: randomUUID(), number: ++this.orders, tenantId, payload });
  }

  async cancel(runId: string): Promise<void> {
    const order = { id: randomUUID(), number: ++this.orders, tenantId: this.options.tenantId, payload: { runId } };
    await this.app.get(CancelFailoverHandler).carryOut(order);
  }

  /** SQL as the agency's superuser on this site's server. */
  async sql<R extends object>(text: string): Promise<R[]> {
    const client = await this.driver.connect(this.options.workloadId, 'test');
    try {
      await client.query('SET search_path = public');
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

  /** The agency's line falls silent: connections stay open, nothing comes. */
  freeze(): void {
    this.line.freeze();
  }

  thaw(): void {
    this.line.thaw();
  }

  async close(): Promise<void> {
    KNOWN_SITES.delete(this.home.siteId);
    await this.shutdown();
    this.line.close();
    await this.driver.remove(this.options.workloadId);
    await this.home.database.drop();
    await rm(this.home.directory, { recursive: true, force: true });
  }

  private async pulse(): Promise<void> {
    if (this.line.cut) return;
    const { desk } = this.options;
    try {
      const pulse = await this.app.get(PulseRequests).prepare(desk.agentId);
      if (!pulse) return;
      const workloads = await desk.pulse(pulse.request);
      if (!this.line.cut) await this.app.get(PulseAnswers).record(pulse, { instanceId: 'test', workloads });
    } catch {
      // A dead agent gives no answer, and a site that is closing takes none.
      return;
    }
  }

  private async forward(): Promise<void> {
    if (this.line.listening) return;
    const wanted = () =>
      this.work.run((tx) =>
        tx.query<{ port: number | null }>('SELECT forward_port AS port FROM standby WHERE forward_port IS NOT NULL'),
      );
    const port = await waitFor('a forwarder to be wanted', async () => (await wanted())[0]?.port, {
      timeoutMs: 30_000,
    });
    await this.line.listen(port);
  }

  private async target(): Promise<ForwardTarget | undefined> {
    const [standby] = await this.work.run((tx) =>
      tx.query<{ follow: string; peer: PeerSite | null }>('SELECT follow, peer FROM standby'),
    );
    if (standby?.follow !== 'peer') return { port: this.options.desk.agency.port, peer: false };
    const other = standby.peer && this.peers.known(standby.peer.siteId);
    return other ? { port: await other.standbyPort(), peer: true } : undefined;
  }
}
