import { appendFile, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { SystemClock, waitFor } from '#libs/platform/clock';
import { DurableValue } from '#libs/sites/agent';
import { TEST_NAMES as names, TestAgency } from '#test/agency';
import { judgeArming } from './armed.js';
import { KeptConnection } from './connection.js';
import { Sampler, synchronousNames } from './sample.js';
import { ServerSettings, settingsRecord } from './server-settings.js';

const OURS = synchronousNames(names);
let agency: TestAgency;
let connection: KeptConnection;
let sampler: Sampler;
let settings: ServerSettings;
let configuration: string;
let before: string;

const shown = async (wanted: string) => {
  const now = await waitFor(
    'the setting to be in force',
    async () => {
      const sample = await sampler.look();
      return sample.synchronousNames === wanted && sample;
    },
    { timeoutMs: 10_000 },
  );
  return now.filedNames;
};
const reload = () => agency.query('SELECT pg_reload_conf()');
const listMetro = () => connection.session(10_000, (client) => settings.listMetro(client, names));

beforeAll(async () => {
  agency = await TestAgency.start();
  connection = new KeptConnection(agency.workload);
  sampler = new Sampler(connection, new SystemClock());
  settings = new ServerSettings(
    agency.workload,
    new DurableValue(path.join(agency.home, 'state', 'settings.json'), settingsRecord),
  );
  configuration = path.join(agency.server.directory, 'postgresql.conf');
  before = await readFile(configuration, 'utf8');
});
afterEach(async () => {
  await writeFile(configuration, before);
  await agency.query('ALTER SYSTEM RESET ALL');
  await reload();
  await shown('');
});
afterAll(async () => {
  await connection?.close();
  await agency?.remove();
});

test('taken back and not reloaded yet, nobody is armed, and arming files it anew', async () => {
  await listMetro();
  expect(await shown(OURS)).toBe(OURS);
  // By hand, or by an agent that is killed before its reload.
  for (const statement of ['ALTER SYSTEM RESET synchronous_standby_names', 'ALTER SYSTEM RESET ALL']) {
    await agency.query(statement);
    const sample = await sampler.look();
    expect(sample).toMatchObject({ synchronousNames: OURS, filedNames: '' });
    expect(judgeArming(sample, names).because).toBe('a change of synchronous_standby_names is under way');
    await listMetro();
    expect(await shown(OURS)).toBe(OURS);
    await reload();
    expect(await shown(OURS)).toBe(OURS);
  }
});

test("set in the agency's own files it counts, as far as the server would take it from there", async () => {
  await writeFile(path.join(agency.server.directory, 'extra.conf'), `Synchronous_Standby_Names = '${OURS}'\n`);
  await appendFile(configuration, "include 'extra.conf'\n");
  await reload();
  expect(await shown(OURS)).toBe(OURS);
  await appendFile(configuration, "synchronous_standby_names = ''\n");
  expect(await shown(OURS)).toBe('');
  await writeFile(configuration, `${before}include 'extra.conf'\nno_such_setting_at_all = on\n`);
  expect(await shown(OURS)).toBe('');
  // What ALTER SYSTEM has filed does not depend on the rest.
  await agency.query(`ALTER SYSTEM SET synchronous_standby_names = '${OURS}'`);
  expect(await shown(OURS)).toBe(OURS);
});
