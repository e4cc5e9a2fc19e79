import { access, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { preflightReport, type Finding } from '#contracts/replication';
import { waitFor } from '#libs/platform/clock';
import type { ConfigurationValue } from '#libs/platform/postgres';
import type { PostgresWorkload } from '#libs/sites/agent';
import { TEST_NAMES, TestAgency } from '#test/agency';
import { SmallDisk } from '#test/small-disk';
import { openConnection } from '../connection.js';
import { withPrefix } from '../server-facts.js';
import { checkAccess } from './access-checks.js';
import { checkDisk } from './data-checks.js';
import { checkFrontDoor } from './door-checks.js';
import { checkFollowing } from './following-checks.js';
import { runPreflight, surveil } from './preflight.js';
import { checkKind } from './server-checks.js';
import { lookAtServer, type ServerLook } from './server-look.js';
import { checkSettings } from './settings-checks.js';

let agency: TestAgency;
const majors = () => [agency.server.installation.majorVersion];

async function preflight(over: Partial<PostgresWorkload> = {}, supportedMajors: readonly number[] = majors()) {
  const workload = { ...agency.workload, ...over };
  const client = openConnection(workload);
  try {
    const report = await runPreflight(workload, { supportedMajors, names: null }, () => client);
    return preflightReport.parse(JSON.parse(JSON.stringify(report)));
  } finally {
    await client.then((each) => each.end()).catch(() => undefined);
  }
}

const codes = (findings: readonly Finding[], severity: Finding['severity'] = 'blocker') =>
  findings.filter((finding) => finding.severity === severity).map(({ code }) => code);

/** With these settings, after a restart; the next call begins anew. */
async function restartedWith(settings: Readonly<Record<string, ConfigurationValue>>): Promise<void> {
  await agency.server.stop('fast');
  await agency.configure(settings);
  await agency.startServer();
}

async function look(): Promise<ServerLook> {
  const client = await openConnection(agency.workload);
  try {
    return await lookAtServer(client);
  } finally {
    await client.end();
  }
}

beforeAll(async () => {
  agency = await TestAgency.start();
});

afterAll(async () => {
  await agency.remove();
});

test('a server as the distribution installs it can be protected', async () => {
  const { ok, findings, server } = await preflight();
  expect(codes(findings)).toEqual([]);
  expect(ok).toBe(true);
  expect(codes(findings, 'information')).toContain('slots.limit');
  expect(server).toMatchObject({ dataChecksums: true, superuser: 'postgres', timeline: 1 });
  expect(server!.parameters).toMatchObject({ max_connections: '40' });
  expect(server!.parameters).not.toHaveProperty('port');
  expect(server!.hbaRules).toContainEqual(
    expect.objectContaining({ type: 'host', database: ['replication'], address: '127.0.0.1/32' }),
  );
  expect(server!.version).toMatch(/^\d+\.\d+ on [^ ]*linux/);
  expect(server!.parameters).toMatchObject({ block_size: '8192', wal_segment_size: '16777216', lc_ctype: 'C.UTF-8' });
  for (const finding of findings) expect(finding.remedy).not.toBe('');
});

test('what a front door means for pg_hba.conf: its clients come from this machine, whatever is said of addresses', async () => {
  const seen = await look();
  const [plain] = checkFrontDoor(seen, agency.workload);
  expect(plain).toMatchObject({ code: 'hba.front-door', severity: 'information' });
  expect(plain!.remedy).toContain('clientNetworks');
  const [line] = seen.hbaLines!.filter(({ type, database }) => type === 'host' && database.includes('all'));
  const office = { ...line!, line: 90, address: '10.20.0.0', netmask: '255.255.0.0' };
  const barred = { ...line!, line: 91, address: 'all', netmask: null, method: 'reject' };
  const [warned] = checkFrontDoor({ ...seen, hbaLines: [office, line!, barred] }, agency.workload);
  expect(warned).toMatchObject({ code: 'hba.front-door', severity: 'warning' });
  expect(warned!.what).toMatch(/90 \(10\.20\.0\.0 [^]*91 \(all reject\)/);
  // Who cannot sign in from this machine by TCP cannot come by a door.
  expect(checkFrontDoor({ ...seen, hbaLines: [office] }, agency.workload)).toEqual([]);
});

test('a server that does not answer, an unknown version, a role without rights', async () => {
  const { findings } = await preflight({ port: 1 });
  expect(codes(findings)).toEqual(['server.unreachable']);
  // Debian's pg_hba.conf lets nobody but the user postgres in as postgres, and the agent runs as root.
  expect(findings[0]!.remedy).toContain('pg_ident.conf');
  expect(codes((await preflight({}, [majors()[0]! + 1])).findings)).toEqual(['server.version-unsupported']);
  await agency.query('CREATE ROLE clerk LOGIN');
  const clerk = await preflight({ user: 'clerk' });
  expect(codes(clerk.findings)).toEqual(['role.no-replication-rights', 'role.not-superuser']);
  expect(clerk.server).toBeNull();
  expect(codes((await preflight({ dataDirectory: path.join(agency.home, 'other') })).findings)).toEqual(
    expect.arrayContaining(['configuration.data-directory', 'machine.data-directory-unreadable']),
  );
});

test('settings that would make the copy worthless or impossible', async () => {
  await restartedWith({ wal_level: 'minimal', max_wal_senders: 0, fsync: false, full_page_writes: false });
  expect(codes((await preflight()).findings)).toEqual([
    'wal-level.minimal',
    'fsync.off',
    'full-page-writes.off',
    'wal-senders.exhausted',
  ]);
  await restartedWith({ max_replication_slots: 1, listen_addresses: '', synchronous_commit: 'local' });
  expect(codes((await preflight()).findings)).toEqual(['slots.exhausted', 'synchronous-commit.off', 'server.no-tcp']);
  await restartedWith({ synchronous_standby_names: 'reporting', wal_sender_timeout: 0 });
  const { findings } = await preflight();
  expect(codes(findings)).toEqual(['synchronous-names.foreign']);
  expect(codes(findings, 'warning')).toContain('wal-sender-timeout.off');
  await restartedWith({});
});

test('what others see as a detail: overrides, unlogged tables, logical slots, tablespaces, pending restarts', async () => {
  await restartedWith({ wal_level: 'logical' });
  await agency.query('CREATE DATABASE "water billing"');
  await agency.query('CREATE UNLOGGED TABLE meter (id int)', 'water billing');
  await agency
    .query("SELECT pg_create_logical_replication_slot('reports', 'test_decoding')")
    .catch(() => agency.query("SELECT pg_create_logical_replication_slot('reports', 'pgoutput')"));
  await agency.query('ALTER ROLE clerk SET synchronous_commit = off');
  await agency.query('ALTER SYSTEM SET max_connections = 60');
  await agency.query('SELECT pg_reload_conf()');
  const { findings, server } = await preflight();
  expect(codes(findings)).toEqual([]);
  expect(codes(findings, 'warning')).toEqual(
    expect.arrayContaining([
      'synchronous-commit.overridden',
      'settings.pending-restart',
      'settings.rise-pending',
      'data.unlogged-tables',
      'data.logical-slots',
    ]),
  );
  expect(findings.find(({ code }) => code === 'data.unlogged-tables')?.what).toContain('water billing: public.meter');
  // The rise reaches the sites before the restart does.
  expect(server!.parameters).toMatchObject({ max_connections: '60' });

  // The part that goes on running says the same as alarms, and nothing that was known before.
  const client = await openConnection(agency.workload);
  const alarms = await surveil(agency.workload, client, TEST_NAMES, { tablespaces: [] });
  expect(alarms.map(({ code }) => code)).toEqual(['synchronous-commit.overridden', 'settings.rise-pending']);
  await client.end();
});

test('managed services, Windows, other managers and standbys are refused, with the alternative', async () => {
  const real = await look();
  const kinds: [Partial<ServerLook>, string][] = [
    [{ roles: ['rds_superuser'] }, 'server.managed'],
    [{ versionText: 'PostgreSQL 15.4, compiled by Visual C++ build 1937, 64-bit' }, 'server.windows'],
    [{ markers: ['patroni.dynamic.json'] }, 'server.managed-by-other'],
    [{ inRecovery: true }, 'server.standby'],
  ];
  for (const [over, code] of kinds) {
    const findings = checkKind({ ...real, ...over }, majors());
    expect(codes(findings)).toEqual([code]);
    expect(findings[0]!.remedy).toMatch(/archive|primary/);
  }
});

test('pg_hba.conf is read as the server reads it: the first line that fits decides', async () => {
  const real = await look();
  const line = (over: object) => ({
    line: 1,
    type: 'host',
    database: ['replication'],
    user: ['all'],
    address: '127.0.0.1',
    netmask: '255.255.255.255',
    method: 'scram-sha-256',
    error: null,
    ...over,
  });
  const verdict = (...lines: object[]) =>
    codes(checkAccess({ ...real, hbaLines: lines.map((each) => line(each)) }, agency.workload, TEST_NAMES));
  expect(verdict({})).toEqual([]);
  expect(verdict({ address: '127.0.0.0', netmask: '255.0.0.0' })).toEqual([]);
  expect(verdict({ user: [TEST_NAMES.metroRole] })).toEqual(['hba.no-replication']);
  expect(verdict({ method: 'reject' }, {})).toEqual(['hba.no-replication']);
  expect(verdict({ database: ['all'] })).toEqual(['hba.no-replication']);
  expect(verdict({ type: 'hostssl' })).toEqual(['hba.no-replication']);
  expect(verdict({ address: '::1', netmask: 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff' })).toEqual([
    'hba.no-replication',
  ]);
  // Who comes through a site's front door is a local client for the server.
  const open = ['hba.no-password'];
  const everybody = { database: ['all'], method: 'trust' };
  expect(verdict({}, everybody)).toEqual(open);
  expect(verdict({}, { ...everybody, method: 'ident', user: ['+clerks'], address: 'samehost', netmask: null })).toEqual(
    open,
  );
  expect(verdict({ method: 'trust' })).toEqual(open);
  expect(verdict({ method: 'trust', user: [TEST_NAMES.metroRole, TEST_NAMES.regionalRole] })).toEqual([]);
  expect(verdict({}, { ...everybody, address: '10.0.0.0', netmask: '255.0.0.0' })).toEqual([]);
  expect(verdict({}, { ...everybody, type: 'local', address: null, netmask: null })).toEqual([]);
  expect(verdict({}, { database: ['all'] }, everybody)).toEqual([]);
  expect(verdict({}, { database: ['all'], user: ['clerk'] }, everybody)).toEqual(open);
  expect(withPrefix('fd00::', 'ffff::')).toBe('fd00::/16');
});

test('who gets in here and would not at a site is told of before the day', async () => {
  const real = await look();
  const warned = (...lines: object[]) => {
    const hbaLines = lines.map((each, index) => ({
      line: index + 1,
      type: 'host',
      database: ['all'],
      user: ['all'],
      address: '10.1.0.0',
      netmask: '255.255.0.0',
      method: 'scram-sha-256',
      error: null,
      ...each,
    }));
    return checkFollowing({ ...real, hbaLines });
  };
  expect(warned({}, { method: 'md5' }, { method: 'reject' }, { address: 'desk.town.example', netmask: null })).toEqual(
    [],
  );
  for (const method of ['ldap', 'gss', 'radius', 'pam', 'cert', 'ident', 'sspi']) {
    const [finding, ...others] = warned({}, { type: method === 'cert' ? 'hostssl' : 'host', method });
    expect(others).toEqual([]);
    expect(finding).toMatchObject({ code: 'hba.method-stays', severity: 'warning' });
    expect(finding!.what).toContain(`line 2 (${method}`);
    expect(finding!.remedy).toContain('scram-sha-256');
  }
  expect(warned({ method: 'ldap', database: ['replication'] })).toEqual([]);
  expect(warned({ type: 'hostgssenc', method: 'reject', address: '10.0.0.0' })).toEqual([]);
  const [kerberos] = warned({ type: 'hostgssenc', method: 'scram-sha-256' });
  expect(kerberos!.what).toContain("line 1 (hostgssenc, needs the agency's Kerberos)");
  const [names] = warned({ user: ['+clerks', 'pat'] }, { database: ['@lists/databases'] });
  expect(names).toMatchObject({ code: 'hba.names-stay', severity: 'warning' });
  expect(names!.what).toContain('+clerks in line 1, @lists/databases in line 2');
  // Who is refused cannot get in nowhere.
  expect(warned({ user: ['+clerks'], method: 'reject' })).toEqual([]);
  expect(warned({ type: 'local', method: 'peer', address: null, netmask: null })).toMatchObject([
    { code: 'hba.socket-stays', severity: 'information' },
  ]);
  const ssl = { ...real.settings['ssl']!, value: 'on' };
  expect(checkFollowing({ ...real, hbaLines: [], settings: { ...real.settings, ssl } })).toMatchObject([
    { code: 'tls.stays', severity: 'warning' },
  ]);
});

test('without checksums and hints the way back is a copy, which is a warning', async () => {
  const real = await look();
  const off = (name: string) => ({ [name]: { ...real.settings[name]!, value: 'off' } });
  const settings = { ...real.settings, ...off('data_checksums'), ...off('wal_log_hints') };
  expect(codes(checkSettings({ ...real, settings }, null), 'warning')).toContain('rewind.unavailable');
});

test('the agent itself must be let in to stream, for the day on which the metro is away', async () => {
  const hba = path.join(agency.server.directory, 'pg_hba.conf');
  const whole = await readFile(hba, 'utf8');
  await writeFile(hba, `local replication all reject\n${whole}`);
  await agency.query('SELECT pg_reload_conf()');
  await waitFor('the refusal', async () => codes((await preflight()).findings).includes('hba.no-receiver'), {
    timeoutMs: 10_000,
  });
  await writeFile(hba, whole);
  await agency.query('SELECT pg_reload_conf()');
});

test('a disk that fills is a warning first and a blocker then', async () => {
  await access(agency.workload.dataDirectory);
  const gib = 1_073_741_824;
  const at = async (free: number) => checkDisk(agency.workload, async () => ({ free: free * gib, total: 100 * gib }));
  expect(await at(50)).toEqual([]);
  expect(codes(await at(8), 'warning')).toEqual(['disk.nearly-full']);
  expect(codes(await at(0.2))).toEqual(['disk.full']);
});

const refusal = await SmallDisk.refusal();
test.skipIf(refusal !== null)(
  `a real disk that is full is a blocker${refusal === null ? '' : ` (not run: ${refusal})`}`,
  async () => {
    const disk = await SmallDisk.mount(64 * 1_048_576);
    try {
      await disk.fill();
      const findings = await checkDisk({ ...agency.workload, dataDirectory: disk.directory });
      expect(findings).toMatchObject([{ code: 'disk.full', severity: 'blocker' }]);
      expect(findings[0]!.remedy).toContain('Make room');
    } finally {
      await disk.unmount();
    }
  },
);
