import type { Alarm, PulseWorkload } from '#contracts/replication';
import { ServerFencing } from '#libs/failover/agent';
import type { Clock } from '#libs/platform/clock';
import {
  DegradeReceiver,
  KeptConnection,
  localServer,
  ProtectedWorkload,
  type Fencing,
  type PulseEntry,
} from '#libs/replication/agent';
import type { PostgresWorkload, ServedGrants, StateDirectory } from '#libs/sites/agent';
import type { WorkloadState } from './agent-status.js';
import { workloadFiles, type WorkloadFiles } from './workload-files.js';

/** How often the tunnel looks whether the gate let the server start unconfirmed. */
const GATE_LOOK_MS = 5_000;

const UNCONFIRMED_START = (at: string): Alarm => ({
  code: 'gate.unconfirmed-start',
  what: `PostgreSQL was started at ${at} although no site could say whether one has taken over.`,
  remedy:
    'Restore the line to a warm site. Until one confirms this server, what is written here may have to be thrown away.',
});

/** One workload in the tunnel process: its pulse and lease, its fencing, and what the gate has said. */
export class TunnelWorkload {
  readonly protection: ProtectedWorkload;
  readonly fencing: ServerFencing;
  private readonly files: WorkloadFiles;
  private begun = false;
  private unconfirmed: string | null = null;
  private noticedAt = -Infinity;
  private lookedAt = -Infinity;

  constructor(
    readonly configured: PostgresWorkload,
    directory: StateDirectory,
    private readonly clock: Clock,
  ) {
    this.files = workloadFiles(directory, configured.name);
    this.fencing = new ServerFencing({
      workload: configured,
      server: () => localServer(configured),
      record: this.files.fencing,
      logDirectory: directory.workload(configured.name, 'divergent-log'),
      clock,
      beforeFence: () => this.protection.endDegrading(),
    });
    this.protection = new ProtectedWorkload({
      workload: configured,
      connection: new KeptConnection(configured),
      receiver: (lease) =>
        new DegradeReceiver({ workload: configured, lease, scratch: directory.lease(configured.name) }, clock),
      record: this.files.protection,
      grants: this.files.grants,
      fencing: this.reported(),
      clock,
    });
  }

  async begin(): Promise<void> {
    await this.fencing.begin();
    await this.protection.begin();
    this.begun = true;
  }

  /**
   * What the gate may be told at once; undefined while a site's word is waited for, and before it is known what the
   * last process knew.
   *
   * @param asked monotonic milliseconds: a confirmation counts only from then on.
   */
  gateState(asked: number): 'confirmed' | 'fenced' | 'unprotected' | undefined {
    if (!this.begun) return undefined;
    if (this.fencing.report().fenced) return 'fenced';
    if (this.fencing.confirmedAt >= asked) return 'confirmed';
    return this.protection.protectedAs ? undefined : 'unprotected';
  }

  async tick(): Promise<void> {
    await this.protection.tick();
    await this.lookAtGate();
  }

  /** Of the grants that the control plane serves, takes the one of this workload in its server's own epoch. */
  offer({ askedAt, grants, moves = [] }: ServedGrants): void {
    const workloadId = this.protection.protectedAs?.workloadId;
    const mine = (grant: { workloadId: string; epoch: number }) =>
      grant.workloadId === workloadId && grant.epoch === this.fencing.epoch;
    const move = moves.find(mine);
    const served = move ?? grants.find(mine);
    const to = move?.to ?? 'alone';
    this.protection.setGrant(
      served ? { requestId: served.requestId, to, until: askedAt + served.secondsLeft * 1_000 } : null,
    );
  }

  pulse(entry: PulseEntry): Promise<PulseWorkload> {
    return this.protection.pulse(entry);
  }

  state(): WorkloadState {
    const { verdict, protectedAs } = this.protection;
    const { fenced, divergence, alarms } = this.reported().report();
    return {
      name: this.configured.name,
      protected: protectedAs !== undefined,
      mode: protectedAs?.mode ?? null,
      armed: protectedAs && verdict ? verdict.armed : null,
      armedSince: verdict?.since?.toISOString() ?? null,
      notArmedBecause: verdict ? verdict.because : 'the server does not answer',
      epoch: this.fencing.epoch,
      fenced,
      divergentTransactions: divergence?.transactions.length ?? null,
      alarms: [...alarms, ...(verdict?.alarms ?? []), ...this.protection.observedAlarms],
    };
  }

  private reported(): Fencing {
    return {
      observe: (entry) => this.fencing.observe(entry),
      report: () => {
        const report = this.fencing.report();
        if (this.unconfirmed === null) return report;
        return { ...report, alarms: [...report.alarms, UNCONFIRMED_START(this.unconfirmed)] };
      },
    };
  }

  /** Once a site has confirmed the epoch since, the start turned out well. */
  private async lookAtGate(): Promise<void> {
    const now = this.clock.monotonic();
    if (now - this.lookedAt < GATE_LOOK_MS) return;
    this.lookedAt = now;
    const found = await this.files.unconfirmedStart.read();
    if (found?.at !== this.unconfirmed) this.noticedAt = now;
    this.unconfirmed = found?.at ?? null;
    if (found && this.fencing.confirmedAt > this.noticedAt) {
      await this.files.unconfirmedStart.clear();
      this.unconfirmed = null;
    }
  }
}
