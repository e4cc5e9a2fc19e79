import { createHash } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import {
  armingChanged,
  divergenceFound,
  LEASE_MARGIN_SECONDS,
  LEASE_SECONDS,
  oldPrimaryFenced,
  type PulseAnswer,
  type PulseWorkload,
  REGIONAL_LEADS,
} from '#contracts/replication';
import type { ResultContract, SiteRole } from '#contracts/sites';
import { SiteUnitOfWork, type SiteTransaction } from '#libs/platform/database';
import { SiteOutbox } from '#libs/sites/site/gateway';
import { ArmedLeases, type DisarmRequest, LEASE_OF_EPOCH } from './armed-leases.js';
import { mayTell, mayTellAgain } from './news-allowance.js';
import type { PreparedPulse, PulsedWorkload } from './pulse-requests.js';

/** Standbys of which nothing is believed: past their lease, or about to be copied anew. */
const NO_LEASES = `('preparing', 'seeding', 'promoting', 'primary', 'removing', 'removed')`;

const REASONS: Readonly<Record<string, string>> = {
  'ran-out': 'the agency has not renewed its armed lease',
  degraded: 'production runs without this site',
  'answered-not-armed': 'production is not armed',
};

/** Reasons for which a server is not armed and yet acknowledges nothing without the site that leads: it waits for it. */
const STILL_WAITS: readonly string[] = [
  ...(['metro', 'regional'] as const).flatMap((role) => [
    `the ${role} site does not stream`,
    `the ${role} site is catching up`,
    `the ${role} site is not the synchronous one yet`,
    `the ${role} site still lacks what was acknowledged without it`,
  ]),
  'the server is fenced',
];

/** Whether the site is the synchronous one by this answer. An agent that does not say knows the metro only. */
const leads = (role: SiteRole, { synchronousSite }: PulseWorkload): boolean => (synchronousSite ?? 'metro') === role;

/** Whether the answer says that every acknowledged write is at this site: to the metro it says so of the regional by name. */
const armedFor = (role: SiteRole, said: PulseWorkload): boolean =>
  said.reachable && leads(role, said) && (said.armed || said.notArmedBecause === REGIONAL_LEADS);

/** What in an answer says that production may acknowledge writes which this site lacks; null when nothing does. */
function contraryTo(role: SiteRole, said: PulseWorkload): string | null {
  const { reachable, degraded, notArmedBecause } = said;
  if (degraded) return `production runs without the ${role} site`;
  if (!reachable || armedFor(role, said)) return null;
  if (!leads(role, said)) return `the ${role} site is not the synchronous one`;
  return notArmedBecause === null || STILL_WAITS.includes(notArmedBecause) ? null : notArmedBecause;
}

/** Strict never degrades on the agent's own request; a return to the metro loses nothing in either mode. */
function askedFor(
  { role, mode }: PulsedWorkload,
  { disarmRequest, returnRequest }: PulseWorkload,
): Pick<DisarmRequest, 'requestId' | 'lsn' | 'reason' | 'to'> | null {
  if (role === 'regional' && returnRequest) return { ...returnRequest, to: 'metro' };
  return disarmRequest && mode === 'available' ? disarmRequest : null;
}

/** Writes down what agents answer: reports, leases, news. */
@Injectable()
export class PulseAnswers {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly leases: ArmedLeases,
    private readonly outbox: SiteOutbox,
  ) {}

  /** An answer that comes late is worth less: the lease counts from the moment before the pulse was sent. */
  async record(pulse: PreparedPulse, answer: PulseAnswer): Promise<void> {
    const answers = new Map(answer.workloads.map((one) => [one.workloadId, one]));
    await this.work.run(async (tx) => {
      for (const workload of pulse.workloads) {
        const said = answers.get(workload.workloadId);
        if (!said) continue;
        if (!(await this.report(tx, workload, said))) continue;
        await this.lease(tx, workload, said, pulse.preparedAt);
        await this.news(tx, workload, said);
      }
    });
  }

  /** Tells the control plane of leases that are over: a silent agent answers no pulse that could do it. */
  async tellEndedLeases(): Promise<void> {
    await this.work.run(async (tx) => {
      const ended = await tx.query<{ workload_id: string; tenant_id: string; why: string; lsn: string | null }>(
        `UPDATE armed_lease l SET told_armed = false FROM standby s
          WHERE l.workload_id = s.workload_id AND l.told_armed
            AND (l.armed_until IS NULL OR l.armed_until <= clock_timestamp() OR l.epoch <> s.epoch)
          RETURNING l.workload_id, s.tenant_id, coalesce(l.ended_because, 'ran-out') AS why,
                    l.disarmed_at_lsn::text AS lsn`,
      );
      for (const { workload_id: workloadId, tenant_id: tenantId, why, lsn } of ended) {
        const reason = REASONS[why] ?? why;
        await this.outbox.emit(tx, armingChanged, { tenantId }, { workloadId, armed: false, sinceLsn: lsn, reason });
      }
    });
  }

  /** False when the workload is no longer here. */
  private async report(tx: SiteTransaction, { workloadId }: PulsedWorkload, said: PulseWorkload): Promise<boolean> {
    const written = await tx.execute(
      `INSERT INTO source_report (workload_id, received_at, lsn, report, contrary, contrary_at, contrary_regional,
                                  contrary_regional_at)
       SELECT workload_id, clock_timestamp(), $2, $3, $4, CASE WHEN $4::text IS NOT NULL THEN clock_timestamp() END,
              $6, CASE WHEN $6::text IS NOT NULL THEN clock_timestamp() END
         FROM standby WHERE workload_id = $1
       ON CONFLICT (workload_id) DO UPDATE
         SET received_at = excluded.received_at, report = excluded.report,
             -- What the server had last is still worth knowing once it is down.
             lsn = coalesce(excluded.lsn, source_report.lsn),
             contrary = CASE WHEN NOT $5 THEN coalesce(excluded.contrary, source_report.contrary) END,
             contrary_at = CASE WHEN NOT $5 THEN coalesce(excluded.contrary_at, source_report.contrary_at) END,
             contrary_regional = CASE WHEN NOT $7
               THEN coalesce(excluded.contrary_regional, source_report.contrary_regional) END,
             contrary_regional_at = CASE WHEN NOT $7
               THEN coalesce(excluded.contrary_regional_at, source_report.contrary_regional_at) END`,
      [
        workloadId,
        said.lsn,
        JSON.stringify(said),
        contraryTo('metro', said),
        armedFor('metro', said),
        contraryTo('regional', said),
        armedFor('regional', said),
      ],
    );
    return written > 0;
  }

  private async lease(tx: SiteTransaction, pulsed: PulsedWorkload, said: PulseWorkload, preparedAt: string) {
    if (said.armed && leads(pulsed.role, said)) {
      if (!pulsed.granted) await this.extend(tx, pulsed, said, preparedAt);
    } else if (said.degraded) {
      await this.cut(tx, pulsed, said.degraded.secondsLeft + LEASE_MARGIN_SECONDS);
    } else if (said.reachable) {
      await tx.execute(
        `UPDATE armed_lease SET ended_because = 'answered-not-armed'
          WHERE workload_id = $1 AND epoch = $2 AND coalesce(ended_because, 'ran-out') = 'ran-out'`,
        [pulsed.workloadId, pulsed.epoch],
      );
    }
    await this.records(tx, pulsed, said);
  }

  /** Only for an answer to a pulse that granted nothing: before it answers "armed", an agent drops what it was granted. */
  private async extend(tx: SiteTransaction, pulsed: PulsedWorkload, said: PulseWorkload, preparedAt: string) {
    await tx.execute(LEASE_OF_EPOCH, [pulsed.workloadId]);
    // The agent goes by the metro's word; what the regional site was told of the mode may be ahead of that.
    const goesBy = pulsed.role === 'metro' ? pulsed.mode : (said.mode ?? null);
    const [extended] = await tx.query<{ told: boolean }>(
      `UPDATE armed_lease l
          SET armed_since = CASE WHEN l.armed_until > clock_timestamp() THEN l.armed_since ELSE clock_timestamp() END,
              armed_until = greatest(l.armed_until, $3::timestamptz + make_interval(secs => $5)),
              ended_because = NULL, told_armed = true, disarm_request_id = NULL, disarm_by = NULL, disarmed_at = NULL,
              disarmed_at_lsn = NULL, disarm_expires_at = NULL, degrade_lease_seconds = NULL, degrade_until = NULL,
              disarm_to = NULL, rearm = l.rearm AND NOT $8, grant_over = false,
              strict_confirmed = s.mode = 'strict' AND $6 IS NOT DISTINCT FROM 'strict' AND $9 IS NOT DISTINCT FROM 'strict'
         FROM (SELECT workload_id, told_armed AS told FROM armed_lease WHERE workload_id = $1 FOR UPDATE) before,
              standby s
        WHERE l.workload_id = $1 AND s.workload_id = $1 AND NOT l.refused AND l.epoch = $2 AND s.epoch = $2
          AND $3::timestamptz + make_interval(secs => $5) > clock_timestamp()
          AND l.disarm_request_id IS NOT DISTINCT FROM $4::uuid AND s.role = $7 AND s.state NOT IN ${NO_LEASES}
        RETURNING before.told`,
      [
        pulsed.workloadId,
        pulsed.epoch,
        preparedAt,
        pulsed.disarmId,
        LEASE_SECONDS,
        pulsed.mode,
        pulsed.role,
        pulsed.rearm,
        goesBy,
      ],
    );
    if (extended?.told !== false) return;
    const { workloadId, tenantId, epoch } = pulsed;
    if (!(await mayTellAgain(tx, { workloadId, kind: armingChanged.kind, epoch }))) {
      // Its end is not told either, then; the measured health says what is.
      await tx.execute('UPDATE armed_lease SET told_armed = false WHERE workload_id = $1', [workloadId]);
      return;
    }
    const reason = `every acknowledged write is at the ${pulsed.role} site`;
    await this.outbox.emit(tx, armingChanged, { tenantId }, { workloadId, armed: true, sinceLsn: said.lsn, reason });
  }

  /** The agent says that a degrade receiver runs: whatever this site believed is over at once. */
  private async cut(tx: SiteTransaction, { workloadId, epoch }: PulsedWorkload, secondsLeft: number): Promise<void> {
    await tx.execute(
      `UPDATE armed_lease
          SET armed_until = least(armed_until, clock_timestamp()), ended_because = 'degraded',
              degrade_until = greatest(degrade_until, clock_timestamp() + make_interval(secs => $3))
        WHERE workload_id = $1 AND epoch = $2`,
      [workloadId, epoch, secondsLeft],
    );
  }

  /** What the agent asks to be recorded before it does it, and the end of what was granted. */
  private async records(tx: SiteTransaction, pulsed: PulsedWorkload, said: PulseWorkload): Promise<void> {
    const { workloadId, disarmId, disarmBy, disarmTo, granted } = pulsed;
    // It was done.
    const reached = disarmTo !== null && said.synchronousSite === disarmTo;
    const asked = leads(pulsed.role, said) && !reached ? askedFor(pulsed, said) : null;
    if (asked) {
      // A person's grant is not replaced by the agent's own request to go on alone.
      if (asked.to === undefined && disarmId !== null && disarmBy === 'person') return;
      await this.leases.recordDisarm(tx, { workloadId, ...asked, leaseSeconds: null, by: 'agent' });
    } else if (disarmId !== null && granted && (reached || (disarmBy === 'agent' && !said.degraded))) {
      await tx.execute(
        `UPDATE armed_lease SET grant_over = true WHERE workload_id = $1 AND disarm_request_id = $2 AND NOT grant_over`,
        [workloadId, disarmId],
      );
    }
  }

  private async news(
    tx: SiteTransaction,
    pulsed: PulsedWorkload,
    { fenced, divergence }: PulseWorkload,
  ): Promise<void> {
    const { workloadId } = pulsed;
    if (fenced) {
      const payload = { workloadId, epoch: fenced.epoch, at: fenced.at, evidence: fenced.evidence };
      await this.once(tx, pulsed, oldPrimaryFenced, fenced.epoch, '', payload);
    }
    if (divergence && divergence.workloadId === workloadId) {
      const hash = createHash('sha256').update(JSON.stringify(divergence)).digest('hex');
      await this.once(tx, pulsed, divergenceFound, divergence.epoch, hash, divergence);
    }
  }

  private async once<P>(
    tx: SiteTransaction,
    { workloadId, tenantId }: PulsedWorkload,
    contract: ResultContract<P>,
    epoch: number,
    hash: string,
    payload: P,
  ): Promise<void> {
    const { kind } = contract;
    if (await mayTell(tx, { workloadId, kind, epoch, hash }))
      await this.outbox.emit(tx, contract, { tenantId }, payload);
  }
}
