import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { archivePolicy, type ArchivePolicy, type KeyMode, type SourceKind } from '#contracts/archive';
import type { Actor } from '#libs/audit/control';
import type { ProviderTransaction, TenantTransaction } from '#libs/platform/database';
import { Workloads, type WorkloadView } from '#libs/protection/control';
import { Agents, Sites } from '#libs/sites/control';
import { Clock } from '#libs/platform/clock';
import {
  ArchiveEndingError,
  ArchiveExistsError,
  CanariesNeedFilesError,
  ChecksNeedDumpsError,
  MinimumAgeShrinksError,
  SameSiteError,
  SecondSiteFixedError,
  WorkloadArchivedError,
} from '../archive.errors.js';
import { goesOn } from '../archive.states.js';
import { defaultPolicy } from '../policy/default-policy.js';
import { formerAfter, keepsLess, retentionInWords } from '../policy/retention-words.js';
import { periodSeconds } from '../policy/schedule-words.js';
import { timeZoneOfState } from '../policy/time-zones.js';
import { ArchiveOrders } from './archive-orders.js';
import { ArchiveRecord } from './archive-record.js';
import { type ArchiveRow, ArchiveStore } from './archive-store.js';
import { chooseArchiveSites } from './site-choice.js';

/** Who reads the archive must be said; all else has a default. */
export interface ArchiveInput extends Partial<ArchivePolicy> {
  readonly workloadId: string;
  readonly keyMode: KeyMode;
  /** Left out: Mainstay chooses among the agent's sites. */
  readonly siteId?: string | undefined;
  readonly secondSiteId?: string | null | undefined;
}

export interface ArchiveChange extends Partial<ArchivePolicy> {
  readonly paused?: boolean | undefined;
  readonly secondSiteId?: string | undefined;
}

/** A second copy goes when its keeper's minimum age is over: so much later at the most, unless the two cannot speak. */
const LINGERS = '30 days';

/** Archives workloads at sites: chooses, orders, changes, pauses and ends. */
@Injectable()
export class Archives {
  constructor(
    private readonly store: ArchiveStore,
    private readonly archiveOrders: ArchiveOrders,
    private readonly record: ArchiveRecord,
    private readonly workloads: Workloads,
    private readonly agents: Agents,
    private readonly sites: Sites,
    private readonly clock: Clock,
  ) {}

  /** @throws NotFoundError, ArchiveExistsError, ChecksNeedDumpsError, CanariesNeedFilesError, NoSiteError, SameSiteError */
  async create(tx: TenantTransaction, input: ArchiveInput, actor: Actor): Promise<ArchiveRow> {
    const workload = await this.workloads.lock(tx, input.workloadId);
    await this.agents.requireActive(tx, workload.agentId);
    const existing = await this.store.ofWorkload(tx, workload.id);
    if (existing) throw new ArchiveExistsError(existing.id, existing.state);
    const policy = merged(defaultPolicy(await this.timeZone(tx)), input);
    requireCheckable(policy, workload.kind, input.keyMode);
    const { first, second, warnings } = await this.choose(tx, workload, input);
    await this.agents.assign(tx, tx.tenantId, workload.agentId, [first.id, ...(second ? [second.id] : [])]);
    const id = randomUUID();
    await tx.execute(
      `INSERT INTO archive (tenant_id, id, workload_id, agent_id, site_id, second_site_id, source, key_mode, state, policy,
                            period_seconds, warnings)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'preparing', $9, $10, $11)`,
      [
        tx.tenantId,
        id,
        workload.id,
        workload.agentId,
        first.id,
        second?.id ?? null,
        workload.kind,
        input.keyMode,
        JSON.stringify(policy),
        periodSeconds(policy.schedule),
        JSON.stringify(warnings),
      ],
    );
    const archive = await this.store.get(tx, id);
    await this.archiveOrders.ensure(tx, archive);
    const { keyMode } = input;
    await this.record.did(tx, archive, actor, 'archive.created', {
      workload: workload.name,
      keyMode,
      site: first.name,
      secondSite: second?.name ?? null,
      policy,
    });
    return archive;
  }

  /** @throws NotFoundError */
  get(tx: TenantTransaction, id: string): Promise<ArchiveRow> {
    return this.store.get(tx, id);
  }

  /** The newest first, of one workload or of all; `limit + 1` at most. */
  list(
    tx: TenantTransaction,
    filter: { readonly workloadId: string | null },
    after: readonly [string, string] | undefined,
    limit: number,
  ): Promise<ArchiveRow[]> {
    return this.store.list(tx, filter, after, limit);
  }

  /** Reads an archive and holds its workload's row, as everybody does who gives orders about it. @throws NotFoundError */
  async hold(tx: TenantTransaction, id: string): Promise<ArchiveRow> {
    const { workloadId } = await this.store.get(tx, id);
    await this.workloads.lock(tx, workloadId);
    return this.store.get(tx, id);
  }

  /** The same for an archive that goes on. @throws NotFoundError, ArchiveEndingError */
  async holdOpen(tx: TenantTransaction, id: string): Promise<ArchiveRow> {
    // An archive that has ended may be of a workload that was removed since.
    requireOpen(await this.store.get(tx, id));
    const archive = await this.hold(tx, id);
    requireOpen(archive);
    return archive;
  }

  /**
   * Changes what is given, pauses and resumes. Source and key mode stay.
   *
   * @throws NotFoundError, ArchiveEndingError, MinimumAgeShrinksError, SecondSiteFixedError, ChecksNeedDumpsError
   */
  async change(tx: TenantTransaction, id: string, change: ArchiveChange, actor: Actor): Promise<ArchiveRow> {
    const before = await this.holdOpen(tx, id);
    const policy = merged(before.policy, change);
    if (policy.minimumAgeDays < before.policy.minimumAgeDays) {
      throw new MinimumAgeShrinksError(before.policy.minimumAgeDays);
    }
    requireCheckable(policy, before.source, before.keyMode);
    const secondSiteId = await this.addSecond(tx, before, change.secondSiteId);
    const paused = change.paused ?? before.paused;
    const period = periodSeconds(policy.schedule);
    const former = formerAfter(before, policy, this.clock.now());
    await tx.execute(
      `UPDATE archive SET policy = $3, former_retention = $7, period_seconds = $4, paused = $5, second_site_id = $6, version = version + 1,
              warnings = CASE WHEN $6::uuid IS DISTINCT FROM second_site_id THEN '[]' ELSE warnings END,
              expected_since = CASE WHEN (paused AND NOT $5) OR period_seconds <> $4 THEN now() ELSE expected_since END
        WHERE tenant_id = $1 AND id = $2`,
      [tx.tenantId, id, JSON.stringify(policy), period, paused, secondSiteId, former && JSON.stringify(former)],
    );
    const archive = await this.store.get(tx, id);
    await this.archiveOrders.ensure(tx, archive);
    if (keepsLess(before.policy.retention, policy.retention)) await this.record.keepsLess(tx, archive, before, actor);
    if (paused && !before.paused) await this.record.paused(tx, archive, actor);
    await this.record.canariesTaken(tx, archive, before, actor);
    const retention = change.retention && { retentionBefore: retentionInWords(before.policy.retention) };
    await this.record.did(tx, archive, actor, 'archive.changed', { ...change, ...retention });
    return archive;
  }

  /**
   * Ends an archive: nothing is added to it, and what is there stays until retention lets go of it.
   *
   * @throws NotFoundError; one that is ending stays as it is
   */
  async end(tx: TenantTransaction, id: string, actor: Actor): Promise<ArchiveRow> {
    const now = await this.store.get(tx, id);
    if (!goesOn(now.state)) return now;
    const archive = await this.holdOpen(tx, id);
    await tx.execute(`UPDATE archive SET state = 'ending', version = version + 1 WHERE tenant_id = $1 AND id = $2`, [
      tx.tenantId,
      id,
    ]);
    await this.archiveOrders.end(tx, archive);
    await this.record.ended(tx, archive, actor);
    return this.store.get(tx, id);
  }

  /** @throws WorkloadArchivedError when the workload has an archive that has not ended */
  async requireNone(tx: TenantTransaction, workloadId: string): Promise<void> {
    const existing = await this.store.ofWorkload(tx, workloadId);
    if (existing) throw new WorkloadArchivedError(existing.id);
  }

  /** How many archives have a part at this site: it cannot be retired before. */
  async countAt(tx: ProviderTransaction, siteId: string): Promise<number> {
    const [row] = await tx.query<{ count: number }>(
      `SELECT count(*)::int AS count FROM archive WHERE ended_at IS NULL AND $1 IN (site_id, second_site_id)`,
      [siteId],
    );
    return row?.count ?? 0;
  }

  /**
   * Orders the archives with two copies anew, because one of their sites has another gateway or key now. Those that are
   * ending too, and for a while those that have ended: their second copies go last.
   */
  async siteMoved(tx: ProviderTransaction, siteId: string): Promise<void> {
    const concerned = await tx.query<{ tenantId: string; id: string }>(
      `SELECT a.tenant_id AS "tenantId", a.id FROM archive a
         JOIN workload w ON w.tenant_id = a.tenant_id AND w.id = a.workload_id
        WHERE a.second_site_id IS NOT NULL AND $1 IN (a.site_id, a.second_site_id)
          AND (a.ended_at IS NULL
            OR a.ended_at > now() - make_interval(days => (a.policy->>'minimumAgeDays')::int) - interval '${LINGERS}')
        ORDER BY w.id FOR UPDATE OF w`,
      [siteId],
    );
    for (const { tenantId, id } of concerned) {
      const archive = await this.store.find(tx, tenantId, id);
      if (!archive) continue;
      const goes = goesOn(archive.state);
      await (goes ? this.archiveOrders.ensure(tx, archive) : this.archiveOrders.endElsewhere(tx, archive));
    }
  }

  private async choose(tx: TenantTransaction, workload: WorkloadView, input: ArchiveInput) {
    const place = workload.location ?? (await this.agents.location(tx, workload.agentId));
    const candidates = await this.sites.eligible(tx, place, workload.agentId);
    const { sites } = await this.agents.get(tx, workload.agentId);
    return chooseArchiveSites(candidates, sites, input);
  }

  private async addSecond(tx: TenantTransaction, before: ArchiveRow, wanted: string | undefined) {
    if (wanted === undefined || wanted === before.secondSiteId) return before.secondSiteId;
    if (before.secondSiteId !== null) throw new SecondSiteFixedError();
    if (wanted === before.siteId) throw new SameSiteError();
    const candidates = await this.sites.eligible(tx, null, before.agentId);
    const { second } = chooseArchiveSites(candidates, [], { siteId: before.siteId, secondSiteId: wanted });
    await this.agents.assign(tx, tx.tenantId, before.agentId, [wanted]);
    return second?.id ?? null;
  }

  private async timeZone(tx: TenantTransaction): Promise<string> {
    const [agency] = await tx.query<{ state: string }>(`SELECT state_code AS state FROM agency WHERE id = $1`, [
      tx.tenantId,
    ]);
    return timeZoneOfState(agency?.state);
  }
}

/** What is given replaces what was, also a null: only what is left out stays. */
function merged(before: ArchivePolicy, given: Partial<ArchivePolicy>): ArchivePolicy {
  const names = Object.keys(archivePolicy.shape) as (keyof ArchivePolicy)[];
  const changed = names.flatMap((name) => (given[name] === undefined ? [] : [[name, given[name]]]));
  return { ...before, ...Object.fromEntries(changed) };
}

function requireOpen({ state }: ArchiveRow): void {
  if (!goesOn(state)) throw new ArchiveEndingError();
}

function requireCheckable({ checks, canaries = [] }: ArchivePolicy, source: SourceKind, keyMode: KeyMode): void {
  if (checks.length > 0) {
    if (source !== 'postgresql') throw new ChecksNeedDumpsError('source');
    if (keyMode !== 'escrowed') throw new ChecksNeedDumpsError('key');
  }
  if (canaries.length > 0) {
    if (source !== 'files') throw new CanariesNeedFilesError('source');
    if (keyMode !== 'escrowed') throw new CanariesNeedFilesError('key');
  }
}
