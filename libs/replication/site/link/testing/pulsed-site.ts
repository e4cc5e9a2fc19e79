import { randomUUID } from 'node:crypto';
import { type INestApplicationContext, Module, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { ProtectionMode, PulseWorkload } from '#contracts/replication';
import type { SiteRole } from '#contracts/sites';
import { DatabaseModule, SiteUnitOfWork } from '#libs/platform/database';
import { ClockModule, TelemetryModule } from '#libs/platform/nest';
import { SiteOutbox, SiteSettings } from '#libs/sites/site/gateway';
import { createSiteDatabase, type SiteDatabase } from '#test/databases';
import { ArmedLeases, type LeaseState } from '../armed-leases.js';
import { PulseAnswers } from '../pulse-answers.js';
import { type PreparedPulse, PulseRequests } from '../pulse-requests.js';
import { names, pulseSaid } from './pulse-said.js';

/** What a site asks an agent in its pulses and makes of the answers, on a database of its own: a test speaks for the agent. */
export class PulsedSite {
  readonly agentId = randomUUID();
  private readonly others: Type[];
  private database: SiteDatabase | undefined;
  private app: INestApplicationContext | undefined;
  private workloadId = randomUUID();

  /** @param others what the test asks for beside the leases and the pulses */
  constructor(...others: Type[]) {
    this.others = others;
  }

  async open(): Promise<void> {
    this.database = await createSiteDatabase();
    @Module({
      imports: [
        TelemetryModule.forProcess('test', 'silent'),
        ClockModule,
        DatabaseModule.forSite({ url: this.database.url, applicationName: 'test' }),
      ],
      providers: [
        { provide: SiteSettings, useValue: {} },
        SiteOutbox,
        ArmedLeases,
        PulseRequests,
        PulseAnswers,
        ...this.others,
      ],
    })
    class TestModule {}
    this.app = await NestFactory.createApplicationContext(TestModule, { logger: false });
  }

  async close(): Promise<void> {
    await this.app?.close();
    await this.database?.drop();
  }

  get<T>(token: Type<T>): T {
    if (!this.app) throw new Error('the site is not open');
    return this.app.get(token, { strict: false });
  }

  get work(): SiteUnitOfWork {
    return this.get(SiteUnitOfWork);
  }

  /** Of what was protected nothing stays; what follows is about the workload of this id. */
  async begin(): Promise<string> {
    await this.sql('DELETE FROM standby');
    return (this.workloadId = randomUUID());
  }

  // As values, so that a test may take them by their names.

  readonly sql = (text: string, values: unknown[] = []): Promise<number> =>
    this.work.run((tx) => tx.execute(text, values));

  readonly state = (): Promise<LeaseState> => this.work.run((tx) => this.get(ArmedLeases).state(tx, this.workloadId));

  /** Again, in another mode. */
  readonly protect = (role: SiteRole, mode: ProtectionMode = 'strict'): Promise<number> =>
    this.sql(
      `INSERT INTO standby (workload_id, tenant_id, agent_id, workload_name, role, mode, state, epoch, names)
       VALUES ($1, $2, $3, 'permits', $4, $5, 'streaming', 1, $6)
       ON CONFLICT (workload_id) DO UPDATE SET mode = excluded.mode`,
      [this.workloadId, randomUUID(), this.agentId, role, mode, JSON.stringify(names)],
    );

  readonly pulse = async (): Promise<PreparedPulse> => {
    const prepared = await this.get(PulseRequests).prepare(this.agentId);
    if (!prepared) throw new Error('nothing to pulse');
    return prepared;
  };

  readonly answer = async (prepared: PreparedPulse, changes: Partial<PulseWorkload> = {}): Promise<void> => {
    const workloads = [pulseSaid(this.workloadId, changes)];
    await this.get(PulseAnswers).record(prepared, { instanceId: 'test', workloads });
  };

  /** What the control plane is told of the workload, oldest first. */
  readonly results = async (kind: string): Promise<Record<string, unknown>[]> => {
    const rows = await this.work.run((tx) =>
      tx.query<{ payload: Record<string, unknown> }>(
        `SELECT payload FROM site_result WHERE kind = $1 AND payload ->> 'workloadId' = $2 ORDER BY written`,
        [kind, this.workloadId],
      ),
    );
    return rows.map(({ payload }) => payload);
  };
}
