import { archiveResult, type ArchiveReport } from '#contracts/archive';
import type { ProviderTransaction } from '#libs/platform/database';
import { type AppliedResult, AppliesResult, type ResultHandler } from '#libs/sites/control';
import { archiveStateAfter } from '../archive.states.js';
import { ArchiveRecord } from '../archives/archive-record.js';
import type { ArchiveRow } from '../archives/archive-store.js';
import { fetching } from '../keys/held-password.js';
import { ReportingArchives } from './reporting-archives.js';

/** How an archive stands at its site: each word is the whole of it. */
@AppliesResult(archiveResult)
export class ArchiveStateHandler implements ResultHandler<ArchiveReport> {
  constructor(
    private readonly reporting: ReportingArchives,
    private readonly record: ArchiveRecord,
  ) {}

  async apply(tx: ProviderTransaction, result: AppliedResult<ArchiveReport>): Promise<void> {
    const archive = await this.reporting.of(tx, result);
    const { payload } = result;
    const state = archiveStateAfter(archive.state, payload.state);
    await tx.execute(
      `UPDATE archive SET state = $3, failure = $4, stored_bytes = $5, next_run_at = $6, retention_paused = $7, copy = $8,
              checked_share = $9, damaged = $10, keys_rotated_at = $11, alarms = $12, standing = $13, reported_at = now(), version = version + 1,
              ended_at = CASE WHEN $3 = 'ended' THEN coalesce(ended_at, now()) ELSE ended_at END
        WHERE tenant_id = $1 AND id = $2`,
      [
        archive.tenantId,
        archive.id,
        state,
        json(payload.failure),
        payload.storedBytes,
        payload.nextRunAt,
        payload.retentionPaused,
        json(payload.copy),
        payload.checkedShare,
        JSON.stringify(payload.damaged),
        payload.keysRotatedAt,
        JSON.stringify(payload.alarms ?? []),
        json(payload.standing ?? null),
      ],
    );
    if (state === 'ended' && archive.state !== 'ended') await this.gone(tx, archive);
    if (state === 'failed' && archive.state !== 'failed') await this.failed(tx, archive, payload);
    await this.keysChanged(tx, archive, payload);
    await this.damage(tx, archive, payload);
    await this.alarms(tx, archive, payload);
  }

  /** With the repository its last points are gone, each of them past its time. */
  private async gone(tx: ProviderTransaction, { tenantId, id }: ArchiveRow): Promise<void> {
    await tx.execute(
      `UPDATE recovery_point SET forgotten_at = now(), forgotten_because = 'retention'
        WHERE tenant_id = $1 AND archive_id = $2 AND forgotten_at IS NULL`,
      [tenantId, id],
    );
  }

  private failed(tx: ProviderTransaction, archive: ArchiveRow, { failure }: ArchiveReport): Promise<void> {
    const { workloadName: name } = archive;
    return this.record.tell(tx, archive, {
      kind: 'archives.failed',
      severity: 'alarm',
      title: `${name}: the archive cannot be kept`,
      text: `${archive.siteName} cannot archive ${name}: ${failure?.message ?? 'no reason given'} (${failure?.code ?? 'unknown'}). No recovery point is added until that is mended.`,
    });
  }

  /** Alarms that were not there before; that it is late the control plane sees by itself. */
  private async alarms(tx: ProviderTransaction, archive: ArchiveRow, { alarms = [] }: ArchiveReport): Promise<void> {
    const { workloadName: name } = archive;
    for (const { code, what, since } of alarms) {
      if (archive.alarms.some((known) => known.code === code) || code === 'late') continue;
      await this.record.tell(
        tx,
        archive,
        {
          'source-silent': {
            kind: 'archives.silent',
            severity: 'warning' as const,
            title: `${name}: its agent is silent`,
            text: `${what} Since ${since} nothing is archived: look at the agent's machine and its line.`,
          },
          'password-missing': {
            kind: 'archives.password-missing',
            severity: 'alarm' as const,
            title: `${name}: the agent has lost the archive's password`,
            text: `${what} Put it back from your safe (mainstay-agent archive password NAME --put FILE). Until then nothing can be archived or restored.`,
          },
          'check-failed': {
            kind: 'archives.check-failed',
            severity: 'alarm' as const,
            title: `${name}: a check of the archive found faults`,
            text: `${what}\nSome recovery points may not come back whole. Do not count on them before the provider has looked at it: restore what matters as a test, and keep what is still at the agency.`,
          },
          'junk-objects': {
            kind: 'archives.junk-objects',
            severity: 'alarm' as const,
            title: `${name}: somebody has added to the archive what is no part of it`,
            text: `${what} The archive works again. Only somebody with a credential of its agent can have added them: look at the agent's machine, and enrol it anew if nobody can explain it.`,
          },
          'retention-failed': {
            kind: 'archives.retention-failed',
            severity: 'warning' as const,
            title: `${name}: retention of the archive does not work`,
            text: `${what} Since ${since} it was tried every ten minutes. No recovery point is lost by it, but nothing is removed either: neither what is past its time, nor what two people want gone. The provider has to look at it; with a customer-held key, look at the agent.`,
          },
        }[code],
      );
    }
  }

  /** An escrowed key is the site's to keep; of this one nobody but the agency can. */
  private async keysChanged(
    tx: ProviderTransaction,
    archive: ArchiveRow,
    { keysRotatedAt }: ArchiveReport,
  ): Promise<void> {
    const { workloadName: name } = archive;
    const before = archive.keysRotatedAt?.getTime() ?? 0;
    if (archive.keyMode === 'escrowed' || keysRotatedAt === null || Date.parse(keysRotatedAt) <= before) return;
    await this.record.tell(tx, archive, {
      kind: 'archives.key-changed',
      severity: 'warning',
      title: `${name}: put the new password of the archive into your safe now`,
      text: `The agent has made a new password for the archive of ${name}; the one in your safe opens it no longer. The new one lies on the agent's machine alone: without it nobody can read the archive. On that machine give the command ${fetching(name)}, and put what it shows into your safe. If the machine is lost before that, ask within a week that removals be undone (POST /v1/archives/${archive.id}/undo-removals, since ${keysRotatedAt} or a little before): then the old password opens the archive again.`,
      about: { rotatedAt: keysRotatedAt },
    });
  }

  /** Bytes that were damaged since the last word, and those that have been repaired since. */
  private async damage(tx: ProviderTransaction, archive: ArchiveRow, { damaged }: ArchiveReport): Promise<void> {
    const known = new Map(archive.damaged.map((one) => [one.object, one.repaired]));
    const fresh = damaged.filter(({ object, repaired }) => !repaired && known.get(object) !== false);
    const repaired = damaged.filter(({ object, repaired: now }) => now && known.get(object) !== true);
    const { workloadName: name } = archive;
    if (fresh.length > 0) {
      const copy = archive.secondSiteName;
      await this.record.tell(tx, archive, {
        kind: 'archives.damaged',
        severity: 'alarm',
        title: `${name}: ${fresh.length} damaged ${fresh.length === 1 ? 'object' : 'objects'} in the archive`,
        text: `Reading the archive of ${name} again found bytes that are not what was stored: ${fresh.map(({ object }) => object).join(', ')}. ${
          copy === null
            ? 'There is no second copy to repair them from: recovery points that need them do not come back whole, and a run does not store them again by itself. Ask the provider to repair the repository (restic repair packs), have a run then, which stores again what is still at the agency, and add a second site.'
            : `They are repaired from the copy at ${copy}; this archive shows which.`
        }`,
      });
    }
    if (repaired.length > 0) {
      await this.record.tell(tx, archive, {
        kind: 'archives.repaired',
        severity: 'information',
        title: `${name}: damaged bytes of the archive are repaired`,
        text: `Repaired from the second copy: ${repaired.map(({ object }) => object).join(', ')}. The disk that damaged them is the provider's to look at.`,
      });
    }
  }
}

const json = (value: unknown): string | null => (value === null ? null : JSON.stringify(value));
