import type { Finding } from '#contracts/replication';
import type { PostgresWorkload } from '#libs/sites/agent';
import { ARCHIVE_INSTEAD, blocker, listed } from './finding.js';
import { valueOf, type ServerLook } from './server-look.js';

/** Roles that only a cloud provider's managed service has, and whose it is. */
const MANAGED: Readonly<Record<string, string>> = {
  rds_superuser: 'Amazon RDS or Aurora',
  azure_pg_admin: 'Azure Database for PostgreSQL',
  cloudsqlsuperuser: 'Google Cloud SQL',
  alloydbsuperuser: 'Google AlloyDB',
  neon_superuser: 'Neon',
  supabase_admin: 'Supabase',
  doadmin: 'DigitalOcean',
};

/** Is this a kind of server that Mainstay can replicate at all? */
export function checkKind(look: ServerLook, supportedMajors: readonly number[]): Finding[] {
  const findings: Finding[] = [];
  if (supportedMajors.length > 0 && !supportedMajors.includes(look.majorVersion)) {
    findings.push(
      blocker(
        'server.version-unsupported',
        `The server is PostgreSQL ${look.version}; the sites run version ${supportedMajors.join(', ')}.`,
        `A standby runs the same major version. Upgrade to ${Math.max(...supportedMajors)} with pg_upgrade, ask support to add ${look.majorVersion} to the sites, or protect it by the archive.`,
      ),
    );
  }
  if (/visual c\+\+|mingw|windows/i.test(look.versionText)) {
    findings.push(blocker('server.windows', 'The server runs on Windows; the sites run Linux.', ARCHIVE_INSTEAD));
  }
  const managed = Object.entries(MANAGED).find(([role]) => look.roles.includes(role));
  if (managed) {
    findings.push(
      blocker(
        'server.managed',
        `The server is a managed service (${managed[1]}), which lets nobody outside stream from it.`,
        ARCHIVE_INSTEAD,
      ),
    );
  }
  if (look.inRecovery) {
    findings.push(
      blocker(
        'server.standby',
        'The server is itself a standby.',
        'Protect its primary: put that one into agent.json.',
      ),
    );
  }
  return [...findings, ...checkManager(look)];
}

/** Another manager would undo our settings, and promote or restart the server behind our back. */
function checkManager(look: ServerLook): Finding[] {
  const manager = managerOf(look);
  if (!manager) return [];
  return [
    blocker(
      'server.managed-by-other',
      `The server is managed by ${manager}, which sets synchronous_standby_names and promotes servers by itself.`,
      `Protect it by the archive instead, or take it out of ${manager} first.`,
    ),
  ];
}

function managerOf(look: ServerLook): string | undefined {
  const has = (pattern: RegExp) => look.markers.some((name) => pattern.test(name));
  const preload = valueOf(look, 'shared_preload_libraries') ?? '';
  if (has(/^patroni|^postgresql\.base\.conf/)) return 'Patroni';
  if (has(/^pg_autoctl/) || preload.includes('pgautofailover')) return 'pg_auto_failover';
  if (has(/^repmgr/) || preload.includes('repmgr')) return 'repmgr';
  return undefined;
}

/** May the agent do its work? */
export function checkRights(look: ServerLook, workload: PostgresWorkload): Finding[] {
  const findings: Finding[] = [];
  if (!look.mayReplicate) {
    findings.push(
      blocker(
        'role.no-replication-rights',
        `The agent's role "${look.user}" may not replicate.`,
        `ALTER ROLE "${look.user}" SUPERUSER REPLICATION; or name a superuser as "user" in agent.json.`,
      ),
    );
  }
  if (!look.superuser) {
    findings.push(
      blocker(
        'role.not-superuser',
        `The agent's role "${look.user}" is no superuser: it could not arm the protection, nor get in when all connections are taken.`,
        `ALTER ROLE "${look.user}" SUPERUSER; or name a superuser as "user" in agent.json.`,
      ),
    );
  }
  if (look.dataDirectory !== null && !sameDirectory(look.dataDirectory, workload.dataDirectory)) {
    findings.push(
      blocker(
        'configuration.data-directory',
        `The server's data directory is ${look.dataDirectory}, not ${workload.dataDirectory}.`,
        'Correct "dataDirectory" in agent.json: by it the server is copied and, after a failover, kept from writing.',
      ),
    );
  }
  return findings;
}

function sameDirectory(a: string, b: string): boolean {
  const plain = (text: string) => text.replace(/\/+$/, '');
  return plain(a) === plain(b);
}

/** Things that a standby has to have too, and that are good to know beforehand. */
export function describeSlots(look: ServerLook, ours: ReadonlySet<string>): { logical: string; foreign: string[] } {
  const others = look.slots.filter(({ name }) => !ours.has(name));
  return {
    logical: listed(others.filter(({ type }) => type === 'logical').map(({ name }) => name)),
    foreign: others.map(({ name }) => name),
  };
}
