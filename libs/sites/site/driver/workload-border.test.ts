import { randomUUID } from 'node:crypto';
import { spawn } from 'node:child_process';
import { lchown, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import {
  connect,
  isAlive,
  numberedIdentity,
  quoteLiteral,
  runAs,
  runTool,
  serverIdentity,
  type ServerIdentity,
} from '#libs/platform/postgres';
import { testFolder, TestServer } from '#libs/platform/postgres/testing';
import { bringUp, catchUp, followTarget, headOf, PASSWORD, specification } from './testing/standby-scene.js';
import { ProcessDriver } from './process-driver.js';

const isRoot = process.getuid?.() === 0 && process.platform === 'linux';
const [first, second] = [randomUUID(), randomUUID()];
let root: string;
let primary: TestServer;
let driver: ProcessDriver;
let slot: string;

beforeAll(async () => {
  root = await testFolder('site');
  primary = await TestServer.primary(await testFolder('agency'), {}, 'county_admin');
  await primary.sql(`ALTER ROLE county_admin PASSWORD ${quoteLiteral(PASSWORD)}`);
  driver = new ProcessDriver({ root, durable: false });
  slot = await bringUp(driver, primary, first);
  await bringUp(driver, primary, second);
});
afterAll(async () => {
  for (const { workloadId } of await driver.list()) await driver.remove(workloadId);
  await primary.remove();
  await rm(root, { recursive: true, force: true });
});

const data = (workloadId: string) => path.join(root, 'volumes', workloadId, 'data');
const userOf = async (workloadId: string) => numberedIdentity((await stat(data(workloadId))).uid);
const postmasterOf = async (workloadId: string) =>
  Number((await readFile(path.join(data(workloadId), 'postmaster.pid'), 'utf8')).split('\n')[0]);
/** Whether a shell of that user can do something. */
const can = (identity: ServerIdentity, command: string) =>
  runTool('/bin/sh', ['-c', command], { identity, timeoutMs: 10_000 }).then(
    () => true,
    () => false,
  );

test('libraries are loaded by name out of the site’s own, and by no place that an agency could fill', async () => {
  const preparing = (shared_preload_libraries: string, workloadId = randomUUID()) =>
    driver.prepareStandby(workloadId, specification({ shared_preload_libraries }));
  for (const place of ['base/evil.so', '/tmp/evil', '$libdir/../evil', './evil', '$libdir/plugins/evil', 'not_here']) {
    await expect(preparing(place)).rejects.toMatchObject({ code: 'driver.library-refused', kind: 'precondition' });
    await expect(preparing(`auto_explain, "${place}"`)).rejects.toThrow(place);
  }
  expect((await driver.list()).map((each) => each.workloadId).sort()).toEqual([first, second].sort());
  await driver.raiseParameters(first, { shared_preload_libraries: "'$libdir/auto_explain', pg_stat_statements.so" });
  const loaded = async () => {
    const client = await driver.connect(first, 'test');
    const { rows } = await client.query<{ libraries: string }>(
      "SELECT current_setting('shared_preload_libraries') AS libraries",
    );
    await client.end();
    return rows[0]!.libraries;
  };
  expect(await loaded()).toBe('auto_explain, pg_stat_statements');
  // What an agent says later cannot stop a standby that runs, either.
  await driver.raiseParameters(first, { shared_preload_libraries: 'base/evil.so', max_connections: '120' });
  expect(await loaded()).toBe('auto_explain, pg_stat_statements');
});

test('an agency’s settings and functions do not reach the site’s own sessions', async () => {
  await primary.sql('CREATE SCHEMA evil');
  for (const name of ['pg_is_in_recovery', 'pg_last_wal_replay_lsn', 'pg_conf_load_time']) {
    await primary.sql(
      `CREATE FUNCTION evil.${name}() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'the agency runs here'; END $$`,
    );
  }
  await primary.sql('ALTER ROLE county_admin SET search_path = evil, pg_catalog');
  await primary.sql('ALTER DATABASE postgres SET session_preload_libraries = auto_explain');
  await primary.sql("ALTER DATABASE postgres SET dynamic_library_path = '/tmp:$libdir'");
  await primary.sql("ALTER ROLE county_admin SET statement_timeout = '5s'");
  await catchUp(driver, first, await headOf(primary));
  const client = await driver.connect(first, 'test');
  const { rows } = await client.query<{ name: string; value: string }>(
    `SELECT name, current_setting(name) AS value FROM unnest(ARRAY['search_path', 'session_preload_libraries',
       'local_preload_libraries', 'dynamic_library_path', 'statement_timeout', 'lock_timeout']) AS name`,
  );
  await client.end();
  expect(Object.fromEntries(rows.map(({ name, value }) => [name, value]))).toEqual({
    search_path: 'pg_catalog',
    session_preload_libraries: '',
    local_preload_libraries: '',
    dynamic_library_path: '$libdir',
    statement_timeout: '10min',
    lock_timeout: '10s',
  });
  await primary.sql('ALTER ROLE county_admin RESET ALL');
  await primary.sql('ALTER DATABASE postgres RESET ALL');
});

test('nobody is let in by TCP for being on the same host, whatever the agency’s rules say', async () => {
  const { port } = await driver.endpoint(second);
  const signIn = (password?: string) =>
    connect({
      host: '127.0.0.1',
      port,
      user: 'county_admin',
      applicationName: 'a neighbour',
      ...(password === undefined ? {} : { password }),
    });
  expect(specification().hba.every((rule) => rule.method === 'trust')).toBe(true);
  await expect(signIn()).rejects.toThrow();
  await (await signIn(PASSWORD)).end();
});

describe.skipIf(!isRoot)('where the site’s process is root', () => {
  test('each workload runs as a user of its own that neither reads nor signals another', async () => {
    const [mine, other] = [await userOf(first), await userOf(second)];
    expect(mine.uid).not.toBe(other.uid);
    for (const { uid } of [mine, other]) expect(uid).toBeGreaterThanOrEqual(60_706);
    const theirs = await postmasterOf(second);
    expect((await stat(`/proc/${theirs}`)).uid).toBe(other.uid);
    const places = [
      path.join(data(second), 'PG_VERSION'),
      path.join(root, 'standbys', second, 'passfile'),
      path.join(root, 'standbys', second, 'standby.json'),
      path.join(root, 'standbys', second, 'start.log'),
    ];
    for (const place of places) {
      expect(await can(mine, `cat '${place}'`), place).toBe(false);
      expect(await can(mine, `: >> '${place}'`), place).toBe(false);
    }
    for (const folder of [`volumes/${second}`, `wal/${second}`, `standbys/${second}`, 's', 'volumes', 'standbys']) {
      expect(await can(mine, `ls '${path.join(root, folder)}'`), folder).toBe(false);
      expect(await can(mine, `touch '${path.join(root, folder, 'x')}'`), folder).toBe(false);
    }
    expect(await can(mine, `kill -0 ${theirs}`)).toBe(false);
    expect(await can(mine, `kill -0 ${await postmasterOf(first)}`)).toBe(true);
    const sockets = path.join(root, 's', second.replaceAll('-', '').slice(0, 12));
    expect((await stat(sockets)).uid).toBe(other.uid);
    expect(await can(mine, `/usr/bin/test -x '${sockets}'`)).toBe(false);
    expect(await can(other, `cat '${places[0]}' '${places[1]}'`)).toBe(true);
    // Not its own state, either: the site goes by it as root.
    expect(await can(other, `cat '${places[2]}'`)).toBe(false);
  });

  test('two sites of one host give no number twice, and an end gives it back with nothing left running', async () => {
    const elsewhere = new ProcessDriver({ root: await testFolder('site'), durable: false });
    const third = randomUUID();
    await bringUp(elsewhere, primary, third);
    const { port } = await elsewhere.endpoint(third);
    const pid = await serverOn(port);
    const { uid } = await stat(`/proc/${pid}`);
    expect([(await userOf(first)).uid, (await userOf(second)).uid]).not.toContain(uid);
    const left = spawn('/bin/sleep', ['600'], { detached: true, stdio: 'ignore', ...runAs(numberedIdentity(uid)) });
    await elsewhere.remove(third);
    await waitFor('what it left to end', async () => !(await isAlive(left.pid ?? 0)), { timeoutMs: 10_000 });
    const fourth = randomUUID();
    await elsewhere.prepareStandby(fourth, specification());
    await elsewhere.remove(fourth);
  });

  test('root writes past links that the workload’s user puts in its own folder', async () => {
    const mine = await userOf(first);
    const victim = path.join(root, 'victim');
    await writeFile(victim, 'secret', { mode: 0o600 });
    const names = ['postgresql.conf', 'pg_hba.conf', 'postgresql.auto.conf'];
    for (const name of names) {
      await runTool(
        '/bin/sh',
        ['-c', `rm -f "$1" && ln -s "$2" "$1" && ln -s "$2" "$1.new"`, 'sh', path.join(data(first), name), victim],
        {
          identity: mine,
        },
      );
    }
    await driver.raiseParameters(first, { max_connections: '130' });
    await driver.follow(first, followTarget(primary.port, slot));
    expect(await readFile(victim, 'utf8')).toBe('secret');
    expect(await stat(victim)).toMatchObject({ uid: 0 });
    for (const name of names) expect((await stat(path.join(data(first), name))).uid).toBe(mine.uid);
    await catchUp(driver, first, await headOf(primary));
  });

  test('a standby from before goes on as the user that it had', async () => {
    const old = randomUUID();
    const { uid, gid } = await serverIdentity();
    const volume = path.join(root, 'volumes', old);
    for (const folder of [volume, path.join(root, 'standbys', old)]) {
      await mkdir(folder, { mode: 0o700 });
      await lchown(folder, uid, gid);
    }
    await bringUp(driver, primary, old);
    await catchUp(driver, old, await headOf(primary));
    expect((await stat(data(old))).uid).toBe(uid);
    expect(await stat(volume)).toMatchObject({ uid: 0, gid });
    await driver.remove(old);
  });
});

async function serverOn(port: number): Promise<string> {
  const { stdout } = await runTool('/bin/sh', [
    '-c',
    'for each in /proc/[0-9]*; do tr "\\0" " " < $each/cmdline 2>/dev/null | grep -q "^/.*postgres .*port=$1 " && echo ${each#/proc/}; done; true',
    'sh',
    String(port),
  ]);
  return stdout.trim().split('\n')[0] ?? '';
}
