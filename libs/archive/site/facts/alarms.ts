import type { ArchiveAlarm } from '#contracts/archive';
import type { SiteTransaction } from '#libs/platform/database';
import type { ArchiveRow } from '../archive.row.js';
import { FAULT_CODES } from '../checks/fault-codes.js';
import { periodOf } from '../runs/schedule.js';

/** A source whose agent does not answer for so long, though a run waits for it, is silent. */
const SILENT_MS = 900_000;
const HOUR_MS = 3_600_000;
/** What an agent says when the password that it has, or has made anew, does not open the repository. */
const PASSWORD_CODES = ['archive.wrong-password', 'archive.password-unknown'];
/** Retention is tried again every ten minutes, and told of once it has failed so often and for so long. */
const RETENTION_FAILURES = 3;
const RETENTION_FAILING_MS = HOUR_MS;
/** Of an agent that is away people hear anyway: nothing is removed while it is, and a night of that is no matter. */
const AWAY_MS = 24 * HOUR_MS;
/** So long people are told of objects that were none. */
const JUNK_TOLD_MS = 7 * 24 * HOUR_MS;
/** An alarm has so much room. */
const WORDS = 300;

interface Seen {
  readonly completedAt: Date | null;
  /** Of the oldest run that waits, or whose agent is silent. */
  readonly silentSince: Date | null;
  readonly lastFailure: string | null;
  readonly lastAt: Date | null;
}

/** What people must know of an archive's source now. */
export async function alarmsOf(tx: SiteTransaction, archive: ArchiveRow, now: Date): Promise<ArchiveAlarm[]> {
  const faults = [
    ...(await checkAlarms(tx, archive)),
    ...(await retentionAlarms(tx, archive, now)),
    ...(await junkAlarms(tx, archive, now)),
  ];
  if (archive.state !== 'active') return faults;
  const [seen] = await tx.query<Seen>(
    `SELECT max(ended_at) FILTER (WHERE state IN ('completed', 'partial')) AS "completedAt",
            min(CASE state WHEN 'unknown' THEN coalesce(seen_at, started_at) ELSE due_at END)
              FILTER (WHERE state = 'unknown'
                OR (state IN ('waiting', 'running') AND failure IS NOT NULL)) AS "silentSince",
            (array_agg(failure ->> 'code' ORDER BY ended_at DESC) FILTER (WHERE ended_at IS NOT NULL))[1] AS "lastFailure",
            max(ended_at) AS "lastAt"
       FROM archive_run WHERE archive_id = $1`,
    [archive.archiveId],
  );
  const alarms: ArchiveAlarm[] = [...faults];
  const since = seen?.completedAt ?? archive.createdAt;
  const quiet = archive.policy.quietHours ? 12 * HOUR_MS : 0;
  const late = since.getTime() + 2 * periodOf(archive.policy.schedule) + HOUR_MS + quiet;
  if (now.getTime() > late) {
    const what = 'No run has completed for more than twice the time that the schedule says.';
    alarms.push({ code: 'late', since: new Date(late).toISOString(), what });
  }
  if (seen?.silentSince && now.getTime() - seen.silentSince.getTime() > SILENT_MS) {
    const what = 'A run is due, and the agent does not answer or does not take it: nobody knows how the source is.';
    alarms.push({ code: 'source-silent', since: seen.silentSince.toISOString(), what });
  }
  if (archive.keyMode === 'customer-held' && seen?.lastFailure && PASSWORD_CODES.includes(seen.lastFailure)) {
    const what =
      'The agent does not have the password of this archive, which the agency alone holds. Bring it back there.';
    alarms.push({ code: 'password-missing', since: (seen.lastAt ?? now).toISOString(), what });
  }
  return alarms;
}

/** Parts of the repository that did not pass when they were read last. Those that damaged objects explain are told as damage. */
async function checkAlarms(tx: SiteTransaction, { archiveId, state }: ArchiveRow): Promise<ArchiveAlarm[]> {
  if (state === 'ended') return [];
  const [failed] = await tx.query<{ at: Date; message: string }>(
    `SELECT checked_at AS at, failure ->> 'message' AS message FROM archive_check
      WHERE archive_id = $1 AND failure ->> 'code' = ANY($2) ORDER BY checked_at LIMIT 1`,
    [archiveId, FAULT_CODES],
  );
  if (!failed) return [];
  const what = `Reading the archive again found faults: ${failed.message.slice(0, WORDS)}`;
  return [{ code: 'check-failed', since: failed.at.toISOString(), what }];
}

async function retentionAlarms(tx: SiteTransaction, archive: ArchiveRow, now: Date): Promise<ArchiveAlarm[]> {
  if (archive.state === 'ended') return [];
  const [failing] = await tx.query<{ since: Date; message: string }>(
    `SELECT retention_failing_since AS since, retention_failure ->> 'message' AS message FROM archive
      WHERE archive_id = $1 AND retention_failures >= $2
        AND retention_failing_since <= CASE retention_failure ->> 'code' WHEN 'agent.unreachable' THEN $4::timestamptz ELSE $3 END`,
    [
      archive.archiveId,
      RETENTION_FAILURES,
      new Date(now.getTime() - RETENTION_FAILING_MS),
      new Date(now.getTime() - AWAY_MS),
    ],
  );
  if (!failing) return [];
  const what = `What no rule keeps any more cannot be removed: ${failing.message.slice(0, WORDS)}`;
  return [{ code: 'retention-failed', since: failing.since.toISOString(), what }];
}

/** Only who has a credential can add them: the agent, or whoever has got hold of its own. */
async function junkAlarms(tx: SiteTransaction, { archiveId }: ArchiveRow, now: Date): Promise<ArchiveAlarm[]> {
  const [found] = await tx.query<{ count: number; since: Date | null }>(
    `SELECT count(*)::int AS count, min(found_at) AS since FROM archive_junk WHERE archive_id = $1 AND found_at > $2`,
    [archiveId, new Date(now.getTime() - JUNK_TOLD_MS)],
  );
  if (!found?.since) return [];
  const what = `${found.count === 1 ? 'An object was' : `${found.count} objects were`} found that the key of the archive does not open, and laid aside: nothing could be archived, restored or removed with them there.`;
  return [{ code: 'junk-objects', since: found.since.toISOString(), what }];
}
