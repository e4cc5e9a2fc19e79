import { createHash } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { storableText } from '#contracts/sites';
import { type Actor, Audit } from '#libs/audit/control';
import { noticeRaised, type Notice } from '#libs/notifications/control';
import type { TenantTransaction, Transaction } from '#libs/platform/database';
import { Outbox } from '#libs/platform/outbox';
import { retentionInWords } from '../policy/retention-words.js';
import type { ArchiveRow } from './archive-store.js';

/** As notices have them. */
const TITLE_MAX = 150;
const TEXT_MAX = 4_000;

export type ArchiveNotice = Pick<Notice, 'kind' | 'severity' | 'title' | 'text'> & {
  /** Beside archive and workload; a notice about another one of these is another notice. */
  readonly about?: Readonly<Record<string, string>>;
  /** Another text is another notice: for a deed, of which a larger one must not hide behind a small one of the same hour. */
  readonly eachText?: boolean;
};

/** What the record needs of an archive. */
export type Recorded = Pick<ArchiveRow, 'id' | 'tenantId' | 'workloadId' | 'workloadName'>;

/** Writes what was done with an archive into the audit log, and tells people what matters. */
@Injectable()
export class ArchiveRecord {
  constructor(
    private readonly audit: Audit,
    private readonly outbox: Outbox,
  ) {}

  async did(
    tx: Transaction,
    archive: Recorded,
    actor: Actor,
    action: string,
    detail: Record<string, unknown>,
  ): Promise<void> {
    const { tenantId, id } = archive;
    await this.audit.record(tx, { tenantId, actor, action, subjectKind: 'archive', subjectId: id, detail });
  }

  async tell(tx: Transaction, archive: Recorded, { about = {}, eachText, ...notice }: ArchiveNotice): Promise<void> {
    const said = eachText ? [createHash('sha256').update(notice.text).digest('hex')] : [];
    await this.outbox.publish(tx, noticeRaised, archive.tenantId, {
      ...notice,
      // What sites and agents say is in them.
      title: storableText(notice.title, TITLE_MAX),
      text: storableText(notice.text, TEXT_MAX),
      subjectIds: { archiveId: archive.id, workloadId: archive.workloadId, ...about },
      dedupeKey: [notice.kind, archive.id, ...said, ...Object.values(about)].join(' ').slice(0, 200),
    });
  }

  /** Somebody made the archive keep less: people hear of it, and from when on, while nothing has changed yet. */
  keepsLess(tx: TenantTransaction, archive: ArchiveRow, before: ArchiveRow, actor: Actor): Promise<void> {
    const { workloadName: name, policy, formerRetention: former } = archive;
    const from = former?.until ?? 'now on';
    return this.tell(tx, archive, {
      kind: 'archives.retention-shortened',
      eachText: true,
      severity: 'warning',
      title: `${name}: the archive keeps less than before`,
      text: `${actor.name} changed what the archive of ${name} keeps from "${retentionInWords(before.policy.retention)}" to "${retentionInWords(policy.retention)}". From ${from} what no rule keeps any more is removed, and until then the longer of both counts. If this was not meant, change it back before then (PATCH /v1/archives/${archive.id}): nothing is lost.`,
    });
  }

  /** Somebody who is about to change them would do so first. Listed again, a canary is learnt anew. */
  async canariesTaken(tx: TenantTransaction, archive: ArchiveRow, before: ArchiveRow, actor: Actor): Promise<void> {
    const { workloadName: name, policy } = archive;
    const taken = before.policy.canaries?.filter((path) => !policy.canaries?.includes(path)) ?? [];
    if (taken.length === 0) return;
    await this.tell(tx, archive, {
      kind: 'archives.canaries-removed',
      eachText: true,
      severity: 'warning',
      title: `${name}: canaries are not watched any more`,
      text: [
        `${actor.name} took these canaries from the archive of ${name}. That they are changed or missing is not noticed any more:`,
        ...taken.map((path) => `  ${path}`),
        `If this was not meant, list them again (PATCH /v1/archives/${archive.id}).`,
      ].join('\n'),
    });
  }

  paused(tx: TenantTransaction, archive: ArchiveRow, actor: Actor): Promise<void> {
    const { workloadName: name } = archive;
    return this.tell(tx, archive, {
      kind: 'archives.paused',
      severity: 'warning',
      title: `${name}: archiving is paused`,
      text: `${actor.name} paused the archive of ${name}. No recovery point is added until it is resumed (PATCH /v1/archives/${archive.id} with paused false).`,
    });
  }

  async ended(tx: TenantTransaction, archive: ArchiveRow, actor: Actor): Promise<void> {
    const { workloadName: name } = archive;
    await this.tell(tx, archive, {
      kind: 'archives.ended',
      severity: 'warning',
      title: `${name}: archiving has been ended`,
      text: `${actor.name} ended the archive of ${name}. No recovery point is added any more; those that are there stay until their time.`,
    });
    await this.did(tx, archive, actor, 'archive.ended', { workload: name });
  }
}
