import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { PostgresClient } from '#libs/platform/postgres';
import { TestAgency } from '#test/agency';
import { openConnection } from '../connection.js';
import { readServerFacts } from '../server-facts.js';
import { checkAccess } from './access-checks.js';
import { checkFrontDoor } from './door-checks.js';
import { checkFollowing } from './following-checks.js';
import { lookAtServer, type HbaLine } from './server-look.js';

let agency: TestAgency;
let client: PostgresClient;

beforeAll(async () => {
  agency = await TestAgency.start();
  client = await openConnection(agency.workload);
});

afterAll(async () => {
  await client.end();
  await agency.remove();
});

test('a refusal that a site cannot write down, so that it refuses everybody whom a later line lets in, is a blocker', async () => {
  const real = await lookAtServer(client);
  const everybody = { database: ['all'], user: ['all'], address: 'all', netmask: null, error: null, type: 'host' };
  const blocked = (...lines: (Partial<HbaLine> & Pick<HbaLine, 'method'>)[]) =>
    checkFollowing({ ...real, hbaLines: lines.map((each, index) => ({ ...everybody, line: index + 1, ...each })) });
  const open = { method: 'scram-sha-256', address: '10.0.0.0', netmask: '255.0.0.0' };
  for (const said of [
    { user: ['+contractors'] },
    { user: ['/^tmp_'] },
    { database: ['@closed'] },
    { address: 'desk.town.example' },
    { address: '.town.example' },
    { address: '0.0.0.0', netmask: '0.0.0.0', user: ['pat', '+contractors'] },
  ]) {
    const [finding, ...others] = blocked({ ...said, method: 'reject' }, open, { ...open, method: 'ldap' });
    expect(others.map(({ code }) => code)).toEqual(['hba.method-stays']);
    expect(finding).toMatchObject({ code: 'hba.refusal-widens', severity: 'blocker' });
    expect(finding!.what).toMatch(/line 1 \(.+\), and so whoever gets in here by line 2 /);
  }
  // It means nobody whom another line lets in, or a site can write it down, or need not.
  expect(blocked(open, { user: ['+contractors'], method: 'reject' })).toEqual([]);
  expect(blocked({ user: ['+contractors'], database: ['replication'], method: 'reject' }, open)).toEqual([]);
  expect(
    blocked({ user: ['+contractors'], database: ['tax'], method: 'reject' }, { ...open, database: ['permits'] }),
  ).toEqual([]);
  expect(blocked({ user: ['+contractors'], method: 'reject' }, { ...open, user: ['+staff'] })).toMatchObject([
    { code: 'hba.names-stay', severity: 'warning' },
  ]);
  expect(blocked({ user: ['clerk@town'], method: 'reject' }, open)).toEqual([]);
  expect(
    blocked({ user: ['+contractors'], address: '10.1.0.0', netmask: '255.255.0.0', method: 'reject' }, open),
  ).toEqual([]);
});

test('a refusal by addresses, which holds at no site, is told of also where nobody can come by a door before a failover', async () => {
  const real = await lookAtServer(client);
  const line = { type: 'host', database: ['all'], user: ['all'], netmask: '255.255.0.0', error: null };
  const barred = { ...line, line: 1, address: '10.1.0.0', method: 'reject' };
  const open = { ...line, line: 2, address: '10.0.0.0', netmask: '255.0.0.0', method: 'scram-sha-256' };
  const [finding, ...others] = checkFrontDoor({ ...real, hbaLines: [barred, open] }, agency.workload);
  expect(others).toEqual([]);
  expect(finding).toMatchObject({ code: 'hba.front-door', severity: 'warning' });
  expect(finding!.what).toContain('line 1 (10.1.0.0 reject)');
  expect(finding!.remedy).toContain('clientNetworks');
  expect(checkFrontDoor({ ...real, hbaLines: [open, barred] }, agency.workload)).toEqual([]);
});

test('of a file with a fault, nothing after it is taken to hold, since the fault may be in a refusal', async () => {
  const hba = path.join(agency.server.directory, 'pg_hba.conf');
  const whole = await readFile(hba, 'utf8');
  try {
    const before = await readServerFacts(agency.workload, client);
    await writeFile(hba, `${whole}host all kim all scram-sha-256\nhost all pat all rejekt\nhost all all all md5\n`);
    const { hbaRules } = await readServerFacts(agency.workload, client);
    expect(hbaRules.slice(0, -1)).toEqual(before.hbaRules);
    expect(hbaRules.at(-1)).toMatchObject({ user: ['kim'] });
    const [finding] = checkAccess(await lookAtServer(client), agency.workload, null);
    expect(finding).toMatchObject({ code: 'hba.faulty', severity: 'warning' });
    expect(finding!.what).toContain('nothing that comes after it');
  } finally {
    await writeFile(hba, whole);
  }
});
