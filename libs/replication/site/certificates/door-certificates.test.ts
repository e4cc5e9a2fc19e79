import { randomUUID, X509Certificate } from 'node:crypto';
import { chmod, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import path from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createAuthority, FrontDoor, issueCertificate } from '#libs/link';
import { SystemClock, waitFor } from '#libs/platform/clock';
import { AppLogger } from '#libs/platform/nest';
import { chownTo, connect, renderHba, runTool, serverIdentity } from '#libs/platform/postgres';
import { testFolder } from '#libs/platform/postgres/testing';
import { SiteSettings } from '#libs/sites/site';
import { TestAgency } from '#test/agency';
import { AgencyDesk } from '#test/agency-desk';
import { WarmSite } from '#test/warm-site';
import { DoorAuthorities } from './door-authorities.js';
import { DoorCertificates } from './door-certificates.js';

vi.setConfig({ testTimeout: 120_000 });
// One story: a server with a certificate of its own is protected, the site is restarted, fails over, and renews.
const workloadId = randomUUID();
const tenantId = randomUUID();
let folder: string;
let agency: TestAgency;
let desk: AgencyDesk;
let metro: WarmSite;
let door: FrontDoor;

/** Writes a file that PostgreSQL's user may read. */
async function written(name: string, text: string): Promise<string> {
  const file = path.join(folder, name);
  await writeFile(file, text, { mode: 0o600 });
  await chownTo(file, await serverIdentity());
  return file;
}

/** What a clerk's psql says by the front door; libpq's errors are thrown. */
async function psql(user: string, sslmode: string, tls: { root?: string; host?: string } = {}): Promise<string> {
  const { binDirectory } = agency.server.installation;
  const { port } = (await metro.health())!.frontDoor!;
  const env = { PGPASSWORD: 'desk', PGSSLMODE: sslmode, ...(tls.root ? { PGSSLROOTCERT: tls.root } : {}) };
  const sql = 'SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()';
  const { stdout } = await runTool(
    path.join(binDirectory, 'psql'),
    ['-XAtq', '-h', tls.host ?? '127.0.0.1', '-p', String(port), '-U', user, '-d', 'postgres', '-c', sql],
    { env, identity: await serverIdentity(), timeoutMs: 20_000 },
  ).catch((error: Error & { detail?: string }) => {
    throw new Error(error.detail ?? error.message);
  });
  return stdout.trim();
}

const shown = async () => (await metro.health())?.frontDoor?.authority ?? undefined;
const authorityFile = () => path.join(metro.home.directory, 'authorities', `${workloadId}.pem`);

/** A clerk's open connection, and what it was shown. */
async function clerk(root: string) {
  const { port } = (await metro.health())!.frontDoor!;
  const client = await connect({
    host: '127.0.0.1',
    port,
    user: 'clerk',
    password: 'desk',
    applicationName: 'clerk',
    ssl: { ca: root },
  });
  const { stream } = (client as unknown as { connection: { stream: TLSSocket } }).connection;
  return { client, fingerprint: stream.getPeerX509Certificate()?.fingerprint256 };
}

beforeAll(async () => {
  folder = await testFolder('agency-tls');
  const own = await createAuthority('Elm County');
  const certificate = await issueCertificate(own, { commonName: 'db.elm.example', usages: ['server'] });
  await written('own-root.crt', own.certificate);
  agency = await TestAgency.start({
    ssl: true,
    ssl_cert_file: await written('elm.crt', certificate.certificate),
    ssl_key_file: await written('elm.key', certificate.privateKey),
    ssl_ca_file: await written('elm-clients.crt', own.certificate),
  });
  const clients = { database: 'all', address: '0.0.0.0/0', method: 'scram-sha-256' } as const;
  const rules = renderHba([
    { type: 'local', database: 'all', user: 'all', method: 'trust' },
    { type: 'local', database: 'replication', user: 'all', method: 'trust' },
    { ...clients, type: 'host', database: 'replication', user: 'all' },
    { ...clients, type: 'hostssl', user: 'clerk' },
    { ...clients, type: 'hostnossl', user: 'kiosk' },
  ]);
  await writeFile(path.join(agency.server.directory, 'pg_hba.conf'), rules);
  await agency.server.reload();
  for (const role of ['clerk', 'kiosk']) await agency.query(`CREATE ROLE ${role} LOGIN PASSWORD 'desk'`);
  desk = await AgencyDesk.open(agency);
  metro = await WarmSite.start({ role: 'metro', desk, workloadId, tenantId });
});
afterAll(async () => {
  await door?.close();
  await metro?.close();
  await desk?.close();
  await agency?.remove();
  await rm(folder, { recursive: true, force: true });
});

test('a standby has a certificate of the front door’s name, and its authority is shown; a restart keeps both', async () => {
  await metro.protect();
  await metro.until('the metro to be armed', ({ armed }) => armed === true);
  const authority = (await shown())!;
  const served = (await metro.driver.certificate(workloadId))!;
  const certificate = new X509Certificate(served);
  expect(certificate.subjectAltName).toBe('IP Address:127.0.0.1');
  expect(certificate.verify(new X509Certificate(authority).publicKey)).toBe(true);
  expect((await stat(authorityFile())).mode & 0o777).toBe(0o600);
  const [settings] = await metro.sql<{ tls: string; file: string; clients: string; least: string }>(
    `SELECT current_setting('ssl') AS tls, current_setting('ssl_cert_file') AS file,
            current_setting('ssl_ca_file') AS clients, current_setting('ssl_min_protocol_version') AS least`,
  );
  expect(settings).toMatchObject({ tls: 'on', clients: '', least: 'TLSv1.2' });
  expect(settings?.file).toContain(metro.home.directory);
  await metro.shutdown();
  await metro.boot();
  await metro.until(
    'the standby to stream again',
    ({ state, sourceSeenAt }) => state === 'streaming' && !!sourceSeenAt,
  );
  expect(await shown()).toBe(authority);
  expect(await metro.driver.certificate(workloadId)).toBe(served);
});

test('a standby from before, which takes no TLS, has a certificate at the next look, without a restart', async () => {
  await metro.shutdown();
  const home = path.join(metro.home.directory, 'standbys', 'standbys', workloadId);
  const file = path.join(home, 'standby.json');
  await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, 'utf8')), tls: false }));
  await rm(path.join(home, 'tls'), { recursive: true });
  const server = () =>
    metro.sql<{ tls: string; since: Date }>(
      `SELECT current_setting('ssl') AS tls, pg_postmaster_start_time() AS since`,
    );
  await metro.driver.ensureStopped(workloadId);
  await metro.driver.ensureRunning(workloadId);
  const [before] = await server();
  expect(before?.tls).toBe('off');
  await metro.boot();
  const after = await waitFor('TLS', async () => (await server()).find(({ tls }) => tls === 'on'), {
    timeoutMs: 30_000,
  });
  expect(after.since).toEqual(before?.since);
  await metro.until('the metro to be armed', ({ armed }) => armed === true);
});

test('after a failover clients that demand TLS get in by the front door, and can check whom they reach', async () => {
  desk.alive = false;
  await agency.server.kill9();
  // The lease that runs says that nothing is lost; how far the silent agency got, nobody says.
  const run = await metro.finished(await metro.failover({ acceptedLoss: { kind: 'unknown' }, oldServer: 'destroyed' }));
  expect(run.state).toBe('completed');
  const health = await metro.until('the door to lead here', ({ frontDoor }) => frontDoor?.leadsTo === 'standby');
  const target = { key: 'standby', kind: 'tcp' as const, ...(await metro.driver.endpoint(workloadId)) };
  door = new FrontDoor({ host: health.frontDoor!.host, port: health.frontDoor!.port, target: () => target });
  await door.listen();
  const own = path.join(folder, 'own-root.crt');
  const root = await written('root.crt', `${(await createAuthority('Elm County')).certificate}${await shown()}`);
  expect(await psql('clerk', 'require')).toMatch(/^TLSv1\.[23]$/);
  expect(await psql('clerk', 'verify-ca', { root })).toMatch(/^TLS/);
  expect(await psql('clerk', 'verify-full', { root })).toMatch(/^TLS/);
  await expect(psql('clerk', 'verify-full', { root: own })).rejects.toThrow('certificate verify failed');
  // With a root certificate at hand libpq takes "require" for "verify-ca".
  await expect(psql('clerk', 'require', { root: own })).rejects.toThrow('certificate verify failed');
  await expect(psql('clerk', 'verify-full', { root, host: 'localhost' })).rejects.toThrow('does not match host name');
  await expect(psql('clerk', 'disable')).rejects.toThrow(/no pg_hba.conf entry.*no encryption/);
  expect(await psql('kiosk', 'disable')).toBe('');
  await expect(psql('kiosk', 'require')).rejects.toThrow(/no pg_hba.conf entry.*SSL encryption/);
});

test('a certificate that ends soon is renewed under open connections, without a restart', async () => {
  const root = (await shown())!;
  const first = await clerk(root);
  const authority = await new DoorAuthorities(metro.app.get(SiteSettings, { strict: false })).ensure(workloadId);
  const ending = await issueCertificate(authority, {
    commonName: '127.0.0.1',
    ipAddresses: ['127.0.0.1'],
    usages: ['server'],
    years: 0.3,
  });
  await metro.driver.useCertificate(workloadId, { certificate: ending.certificate, key: ending.privateKey });
  const old = [first.fingerprint, new X509Certificate(ending.certificate).fingerprint256];
  await waitFor(
    'a new certificate',
    async () => {
      const { client, fingerprint } = await clerk(root);
      await client.end();
      return fingerprint !== undefined && !old.includes(fingerprint);
    },
    { timeoutMs: 30_000 },
  );
  expect((await first.client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  await first.client.end();
});

test('the authority’s key is nobody’s to read but the site’s own, and it is made once', async () => {
  if (process.getuid?.() === 0) {
    const reading = metro.sql(`SELECT pg_read_file('${authorityFile()}')`);
    await expect(reading).rejects.toThrow('Permission denied');
  }
  const failing = (alarms: readonly { code: string }[]) => alarms.some(({ code }) => code === 'site.certificate');
  await chmod(authorityFile(), 0o644);
  const exposed = await metro.until('an alarm', ({ alarms }) => failing(alarms));
  expect(exposed.frontDoor?.authority).toBeNull();
  await chmod(authorityFile(), 0o600);
  await metro.until('its end', ({ alarms, frontDoor }) => !failing(alarms) && frontDoor?.authority != null);
  const settings = metro.app.get(SiteSettings, { strict: false });
  const [one, other] = [new DoorAuthorities(settings), new DoorAuthorities(settings)];
  const another = randomUUID();
  const made = await Promise.all([one.ensure(another), other.ensure(another), one.ensure(another)]);
  expect(new Set(made.map(({ privateKey }) => privateKey)).size).toBe(1);
  // A superuser has the key of what its own server shows: that says nothing to another workload's clients.
  const served = new X509Certificate((await metro.driver.certificate(workloadId))!);
  expect(served.verify(new X509Certificate(made[0].certificate).publicKey)).toBe(false);
  await other.forget(another);
  expect(await readdir(path.dirname(authorityFile()))).toEqual([`${workloadId}.pem`]);
  expect(await one.certificate(another)).toBeNull();
});

test('a certificate has the name by which clients know the door, and follows when the site is given another', async () => {
  const prepared = randomUUID();
  await metro.driver.prepareStandby(prepared, { majorVersion: 15, parameters: {}, hba: [] });
  const settings = metro.app.get(SiteSettings, { strict: false });
  const served = async (frontDoorHost: string) => {
    const at = new SiteSettings({ ...settings, frontDoorHost });
    const logger = metro.app.get(AppLogger, { strict: false });
    await new DoorCertificates(new DoorAuthorities(at), at, metro.driver, new SystemClock(), logger).keep(prepared);
    return new X509Certificate((await metro.driver.certificate(prepared))!);
  };
  const long = `${'metro.'.repeat(15)}provider.example`;
  for (const host of ['metro.provider.example', 'Metro_1.Example', 'localhost', long, '10.0.0.1', '2001:db8::7']) {
    const certificate = await served(host);
    expect(isIP(host) ? certificate.checkIP(host) : certificate.checkHost(host)).toBe(host);
    // Made once: a look that finds nothing to do reloads nothing.
    expect((await served(host)).serialNumber).toBe(certificate.serialNumber);
  }
  await metro.driver.remove(prepared);
});
