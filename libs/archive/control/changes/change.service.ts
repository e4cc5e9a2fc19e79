import { Injectable } from '@nestjs/common';
import { judgeChangeOrder, type MassChangeReport } from '#contracts/archive';
import type { TenantTransaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import type { TenantCaller } from '#libs/tenancy/control';
import { ChangeJudgedError } from '../archive.errors.js';
import { ArchiveOrders } from '../archives/archive-orders.js';
import { ArchiveRecord } from '../archives/archive-record.js';
import { Archives } from '../archives/archive.service.js';
import type { ArchiveRow } from '../archives/archive-store.js';
import { hasAuthority, requireAuthority, requirePerson, requireSecond } from '../archives/persons.js';

export type Verdict = 'false-positive' | 'dealt-with';

export interface ChangeView {
  readonly id: string;
  readonly archiveId: string;
  readonly runId: string | null;
  readonly state: MassChangeReport['state'];
  readonly at: Date;
  readonly signals: MassChangeReport['signals'];
  readonly paths: readonly string[];
  /** The last recovery point before it: its id, where it is still known. */
  readonly lastGoodPointId: string | null;
  readonly releaseAskedBy: { readonly id: string; readonly name: string } | null;
  readonly releaseAskedAt: Date | null;
  /** What was said and ordered; the state follows once the site has it. */
  readonly verdict: Verdict | null;
  readonly verdictBy: { readonly name: string } | null;
  readonly verdictAt: Date | null;
  /** For the next page's cursor. */
  readonly atText: string;
}

const QUERY = `SELECT c.id, c.archive_id AS "archiveId", c.run_id AS "runId", c.state, c.at, c.signals, c.paths,
    p.id AS "lastGoodPointId", c.release_asked_by AS "releaseAskedBy", c.release_asked_at AS "releaseAskedAt", c.verdict,
    c.verdict_by AS "verdictBy", c.verdict_at AS "verdictAt", c.at::text AS "atText"
  FROM mass_change c
  LEFT JOIN recovery_point p ON p.tenant_id = c.tenant_id AND p.archive_id = c.archive_id AND p.snapshot_id = c.last_good
  WHERE c.tenant_id = $1 AND c.archive_id = $2`;

/** Suspected mass changes, and what people say of them: until then nothing is removed from the archive. */
@Injectable()
export class Changes {
  constructor(
    private readonly archives: Archives,
    private readonly archiveOrders: ArchiveOrders,
    private readonly record: ArchiveRecord,
  ) {}

  /** The newest first, `limit + 1` at most. @throws NotFoundError for the archive */
  async list(
    tx: TenantTransaction,
    archiveId: string,
    after: readonly [string, string] | undefined,
    limit: number,
  ): Promise<ChangeView[]> {
    await this.archives.get(tx, archiveId);
    return tx.query<ChangeView>(
      `${QUERY} AND ($3::timestamptz IS NULL OR (c.at, c.id) < ($3, $4::uuid)) ORDER BY c.at DESC, c.id DESC LIMIT $5`,
      [tx.tenantId, archiveId, after?.[0] ?? null, after?.[1] ?? null, limit + 1],
    );
  }

  /** @throws NotFoundError */
  async get(tx: TenantTransaction, archiveId: string, id: string): Promise<ChangeView> {
    const [row] = await tx.query<ChangeView>(`${QUERY} AND c.id = $3`, [tx.tenantId, archiveId, id]);
    if (!row) throw new NotFoundError('mass change');
    return row;
  }

  /**
   * A person's word on a suspected change. `false-positive`, that it was an ordinary change, one member says; the site
   * learns from it. `dealt-with`, that it was none and that the points since then may go, takes two with the authority: the
   * first one's word waits for the second's.
   *
   * @throws NotFoundError, PersonNeededError, AuthorityNeededError, SecondPersonNeededError, ChangeJudgedError
   */
  async judge(
    tx: TenantTransaction,
    archiveId: string,
    id: string,
    verdict: Verdict,
    caller: TenantCaller,
  ): Promise<ChangeView> {
    await this.get(tx, archiveId, id);
    if (verdict === 'dealt-with') requireAuthority(caller);
    else requirePerson(caller);
    const archive = await this.archives.hold(tx, archiveId);
    const change = await this.get(tx, archiveId, id);
    if (change.state !== 'suspected' || change.verdict !== null) throw new ChangeJudgedError();
    const first = verdict === 'dealt-with' ? await this.firstOf(tx, change) : null;
    if (first) await requireSecond(tx, first, caller);
    if (verdict === 'dealt-with' && !first) await this.first(tx, archive, change, caller);
    else await this.decide(tx, archive, change, verdict, caller);
    return this.get(tx, archiveId, id);
  }

  /** Who said it first; nobody, once that one has lost the authority: the next word is the first then. */
  private async firstOf(tx: TenantTransaction, { releaseAskedBy }: ChangeView) {
    return releaseAskedBy && (await hasAuthority(tx, releaseAskedBy.id)) ? releaseAskedBy : null;
  }

  private async first(tx: TenantTransaction, archive: ArchiveRow, change: ChangeView, { actor }: TenantCaller) {
    await tx.execute(
      `UPDATE mass_change SET release_asked_by = $3, release_asked_at = now() WHERE tenant_id = $1 AND id = $2`,
      [tx.tenantId, change.id, JSON.stringify(actor)],
    );
    await this.record.tell(tx, archive, {
      kind: 'archives.release-asked',
      severity: 'warning',
      title: `${archive.workloadName}: a suspected mass change is to be released`,
      text: `${actor.name} says that the suspected mass change of ${archive.workloadName} has been dealt with, and that recovery points may be removed again. Another owner or member with the authority to declare must say so too (POST /v1/archives/${archive.id}/changes/${change.id}/verdict).`,
      about: { changeId: change.id },
    });
    await this.record.did(tx, archive, actor, 'archive.change-release-asked', { changeId: change.id });
  }

  private async decide(
    tx: TenantTransaction,
    archive: ArchiveRow,
    change: ChangeView,
    verdict: Verdict,
    { actor }: TenantCaller,
  ) {
    const askedBy = verdict === 'dealt-with' ? change.releaseAskedBy : null;
    await tx.execute(
      `UPDATE mass_change SET verdict = $3, verdict_by = $4, verdict_at = now() WHERE tenant_id = $1 AND id = $2`,
      [tx.tenantId, change.id, verdict, JSON.stringify(actor)],
    );
    await this.archiveOrders.give(tx, archive, judgeChangeOrder, { changeId: change.id, verdict });
    await this.record.did(tx, archive, actor, 'archive.change-judged', {
      changeId: change.id,
      verdict,
      ...(askedBy ? { askedBy: askedBy.name } : {}),
    });
  }
}
