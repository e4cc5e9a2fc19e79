import type { Finding, ReplicationNames } from '#contracts/replication';
import { isOurs } from '../sample.js';
import { LIMITS } from '../server-facts.js';
import { blocker, information, listed, warning } from './finding.js';
import { valueOf, type ServerLook } from './server-look.js';

/** Both sites stream, and each may try again beside a connection that is not gone yet; and the degrade receiver. */
const SENDERS_NEEDED = 5;
const SLOTS_NEEDED = 2;

/** Would the log that reaches the sites be whole, and is there room for their connections? */
export function checkSettings(look: ServerLook, names: ReplicationNames | null): Finding[] {
  const ourSlots = new Set(names ? [names.metroSlot, names.regionalSlot] : []);
  return [...checkLog(look), ...checkRoom(look, ourSlots), ...checkSynchronous(look, names), ...checkRestart(look)];
}

function checkLog(look: ServerLook): Finding[] {
  const findings: Finding[] = [];
  if (valueOf(look, 'wal_level') === 'minimal') {
    findings.push(
      blocker(
        'wal-level.minimal',
        'wal_level is "minimal": the log does not hold what a standby needs.',
        "ALTER SYSTEM SET wal_level = 'replica'; and restart the server in an announced window.",
      ),
    );
  }
  if (valueOf(look, 'fsync') === 'off') {
    findings.push(
      blocker(
        'fsync.off',
        'fsync is off: a power cut can ruin the database, and the sites would copy the ruins.',
        'ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf();',
      ),
    );
  }
  if (valueOf(look, 'full_page_writes') === 'off') {
    findings.push(
      blocker(
        'full-page-writes.off',
        'full_page_writes is off: a copy taken while the server runs may hold torn pages.',
        'ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf();',
      ),
    );
  }
  if (valueOf(look, 'data_checksums') === 'off' && valueOf(look, 'wal_log_hints') === 'off') {
    findings.push(
      warning(
        'rewind.unavailable',
        'Neither data checksums nor wal_log_hints are on: after a failover this server has to be copied anew to come back.',
        'Turn one on in the next window: ALTER SYSTEM SET wal_log_hints = on; (restart), or pg_checksums --enable (stopped).',
      ),
    );
  }
  if (valueOf(look, 'wal_sender_timeout') === '0') {
    findings.push(
      warning(
        'wal-sender-timeout.off',
        'wal_sender_timeout is 0: a connection that died silently is never given up.',
        "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf();",
      ),
    );
  }
  if (valueOf(look, 'wal_compression') === 'off') {
    findings.push(
      information(
        'wal-compression.off',
        'wal_compression is off: more has to cross the line than must.',
        look.majorVersion >= 15
          ? "Worth having on a slow line: ALTER SYSTEM SET wal_compression = 'lz4'; SELECT pg_reload_conf();"
          : 'Worth having on a slow line: ALTER SYSTEM SET wal_compression = on; SELECT pg_reload_conf();',
      ),
    );
  }
  return findings;
}

function checkRoom(look: ServerLook, ourSlots: ReadonlySet<string>): Finding[] {
  const findings: Finding[] = [];
  const slots = Number(valueOf(look, 'max_replication_slots') ?? 0);
  const slotsTaken = look.slots.filter(({ name }) => !ourSlots.has(name)).length;
  if (slots - slotsTaken < SLOTS_NEEDED) {
    findings.push(
      blocker(
        'slots.exhausted',
        `${slotsTaken} of ${slots} replication slots are taken; Mainstay needs ${SLOTS_NEEDED}.`,
        `ALTER SYSTEM SET max_replication_slots = ${slotsTaken + SLOTS_NEEDED + 2}; and restart, or drop slots that nobody uses.`,
      ),
    );
  }
  const senders = Number(valueOf(look, 'max_wal_senders') ?? 0);
  // Once protected, the sites' own connections count among those taken.
  const needed = ourSlots.size > 0 ? 1 : SENDERS_NEEDED;
  if (senders - look.walSenders < needed) {
    findings.push(
      blocker(
        'wal-senders.exhausted',
        `${look.walSenders} of ${senders} connections for replication (max_wal_senders) are taken; Mainstay needs ${SENDERS_NEEDED}.`,
        `ALTER SYSTEM SET max_wal_senders = ${look.walSenders + SENDERS_NEEDED + 2}; and restart, or end those that nobody needs.`,
      ),
    );
  }
  return findings;
}

function checkSynchronous(look: ServerLook, names: ReplicationNames | null): Finding[] {
  const findings: Finding[] = [];
  const standbys = valueOf(look, 'synchronous_standby_names') ?? '';
  if (standbys !== '' && !(names && isOurs(standbys, names))) {
    findings.push(
      blocker(
        'synchronous-names.foreign',
        `synchronous_standby_names is already in use: ${standbys}.`,
        'Mainstay has to set it alone. Remove it (ALTER SYSTEM RESET synchronous_standby_names, or from postgresql.conf), once that standby is no longer needed.',
      ),
    );
  }
  const commit = valueOf(look, 'synchronous_commit') ?? 'on';
  if (commit === 'off' || commit === 'local' || commit === 'remote_write') {
    findings.push(
      blocker(
        'synchronous-commit.off',
        `synchronous_commit is "${commit}" for the whole server: a commit would not wait until the metro site has it on disk.`,
        'ALTER SYSTEM RESET synchronous_commit; SELECT pg_reload_conf(); where it is set in postgresql.conf, remove it there.',
      ),
    );
  } else if (commit === 'remote_apply') {
    findings.push(
      warning(
        'synchronous-commit.remote-apply',
        'synchronous_commit is "remote_apply": a long query at the site could hold up commits for minutes.',
        'ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf();',
      ),
    );
  }
  return [...findings, ...checkOverrides(look)];
}

/** Roles and databases whose commits are acknowledged alone, whatever the server's setting is. */
export function checkOverrides(look: ServerLook): Finding[] {
  const weak = look.overrides.filter(({ value }) => /=(off|local|remote_write|false|no|0)$/i.test(value));
  if (weak.length === 0) return [];
  const where = weak.map(({ role, database, value }) =>
    [role && `role ${role}`, database && `database ${database}`, value].filter(Boolean).join(' '),
  );
  return [
    warning(
      'synchronous-commit.overridden',
      `These commits are acknowledged without the metro site: ${listed(where)}. They may be lost in a failover.`,
      'Remove it where the data matter: ALTER ROLE … RESET synchronous_commit; ALTER DATABASE … RESET synchronous_commit;',
    ),
  ];
}

function checkRestart(look: ServerLook): Finding[] {
  const waiting = Object.values(look.settings).filter(({ pendingRestart }) => pendingRestart);
  if (waiting.length === 0) return [];
  const named = waiting.map(({ name, value, inFile }) => `${name} (${value}${inFile === null ? '' : ` → ${inFile}`})`);
  return [
    warning(
      'settings.pending-restart',
      `These settings were changed and wait for a restart: ${listed(named)}.`,
      'Restart in an announced window, together with whatever else this list asks for. Protected workloads: announce a planned reboot first.',
    ),
  ];
}

/** Limits that will rise with the next restart: the sites must have them first. */
export function checkRises(look: ServerLook): Finding[] {
  const rises = LIMITS.flatMap((name) => {
    const setting = look.settings[name];
    const next = Number(setting?.inFile ?? Number.NaN);
    return setting && next > Number(setting.value) ? [`${name} from ${setting.value} to ${next}`] : [];
  });
  if (rises.length === 0) return [];
  return [
    warning(
      'settings.rise-pending',
      `The next restart raises ${rises.join(', ')}: a standby that has less stops replaying.`,
      'Restart only once the sites have raised it too; that takes them a minute from now.',
    ),
  ];
}
