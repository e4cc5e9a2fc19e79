import { randomUUID } from 'node:crypto';
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { chownTo, ownedDirectory, quoteLiteral, runTool, serverIdentity } from '#libs/platform/postgres';
import { testFolder, TestServer } from '#libs/platform/postgres/testing';
import { bringUp, catchUp, followTarget, headOf, PASSWORD, specification } from './testing/standby-scene.js';
import { ProcessDriver } from './process-driver.js';

const [mine, other] = [randomUUID(), randomUUID()];
let root: string;
let drive: string;
let elsewhere: string;
let primary: TestServer;
let driver: ProcessDriver;
let slot: string;

beforeAll(async () => {
  root = await testFolder('site');
  drive = await mkdtemp(path.join(tmpdir(), 'mainstay-drive-'));
  await chmod(drive, 0o711);
  elsewhere = await testFolder('agency');
  primary = await TestServer.primary(await testFolder('agency'), {}, 'county_admin');
  await primary.sql(`ALTER ROLE county_admin PASSWORD ${quoteLiteral(PASSWORD)}`);
  await createTablespace('archive', path.join(elsewhere, 'archive'));
  await primary.sql('CREATE TABLE old_permits TABLESPACE archive AS SELECT generate_series(1, 1000) AS id');
  driver = new ProcessDriver({ root, durable: false, tablespaceRoots: ['/srv/nowhere', drive] });
  slot = await bringUp(driver, primary, mine);
  await driver.prepareStandby(other, specification());
});
afterAll(async () => {
  for (const { workloadId } of await driver.list()) await driver.remove(workloadId);
  await primary.remove();
  for (const each of [root, drive, elsewhere]) await rm(each, { recursive: true, force: true });
});

async function createTablespace(name: string, location: string): Promise<number> {
  await ownedDirectory(location);
  await primary.sql(`CREATE TABLESPACE ${name} LOCATION ${quoteLiteral(location)}`);
  const [row] = await primary.sql<{ oid: number }>('SELECT oid::int FROM pg_tablespace WHERE spcname = $1', [name]);
  return row!.oid;
}
const refused = { code: 'driver.tablespace-refused', kind: 'precondition' };
const ensure = (workloadId: string, location: string, oid = 99_999) =>
  driver.ensureTablespaceDirectory(workloadId, { oid, location });
const rowsOf = async (table: string) => {
  const client = await driver.connect(mine, 'test');
  const { rows } = await client.query<{ n: number }>(`SELECT count(*)::int AS n FROM public.${table}`);
  await client.end();
  return rows[0]!.n;
};

test('those that the copy brings lie in the standby, wherever they lie at the agency, and need no path', async () => {
  const [row] = await primary.sql<{ oid: number }>("SELECT oid::int FROM pg_tablespace WHERE spcname = 'archive'");
  await catchUp(driver, mine, await headOf(primary));
  expect(await rowsOf('old_permits')).toBe(1000);
  const link = await readlink(path.join(root, 'volumes', mine, 'data', 'pg_tblspc', String(row!.oid)));
  expect(link).toBe(`../../tablespaces/${row!.oid}`);
  await ensure(mine, path.join(elsewhere, 'archive'), row!.oid);
  await driver.ensureStopped(mine);
  await driver.ensureRunning(mine);
  expect(await rowsOf('old_permits')).toBe(1000);
});

test('one that is made later is replayed through a link below an allowed folder', async () => {
  await driver.pauseReceiving(mine);
  const location = path.join(drive, 'county', 'fast');
  const oid = await createTablespace('fast', location);
  await primary.sql('CREATE TABLE new_permits TABLESPACE fast AS SELECT generate_series(1, 2000) AS id');
  // The agency's server is on another host; here it makes room for the link.
  await primary.server.stop('fast');
  const moved = path.join(elsewhere, 'fast');
  await rename(location, moved);
  const at = path.join(primary.server.directory, 'pg_tblspc', String(oid));
  await rm(at);
  await symlink(moved, at);
  await primary.start();
  await ensure(mine, location, oid);
  expect(await stat(location)).toMatchObject({ uid: (await stat(path.join(root, 'volumes', mine, 'data'))).uid });
  await driver.follow(mine, followTarget(primary.port, slot));
  await catchUp(driver, mine, await headOf(primary));
  expect(await rowsOf('new_permits')).toBe(2000);
  expect(await readdir(moved)).toEqual(await readdir(location));
});

test('a path is one standby’s alone, and an agency learns nothing of what is in the way', async () => {
  const location = path.join(drive, 'town', 'permits');
  await ensure(other, location);
  await ensure(other, `${location}/`);
  await mkdir(path.join(drive, 'theirs'), { mode: 0o777 });
  await chmod(path.join(drive, 'theirs'), 0o777);
  const victim = path.join(elsewhere, 'victim');
  await mkdir(victim);
  await symlink(victim, path.join(drive, 'link'));
  await mkdir(path.join(drive, 'used'));
  const inTheWay = ['town/permits', 'theirs/x', 'link/x', 'link', 'used', 'town/../x', 'town'].map(
    (each) => `${drive}/${each}`,
  );
  const texts = new Set<string>();
  for (const each of [...inTheWay, '/etc/cron.d/x', '/home/clerk/.ssh', 'relative', drive, `${root}/x`, '/', '/srv']) {
    const error = await ensure(mine, each).then(
      () => undefined,
      (reason: unknown) => reason as Error,
    );
    expect(error, each).toMatchObject(refused);
    texts.add(error!.message.replace(each, 'X'));
  }
  expect([...texts]).toEqual([expect.stringContaining(`Make new tablespaces below /srv/nowhere or ${drive}`)]);
  expect(await readdir(victim)).toEqual([]);
  await expect(driver.checkTablespaceDirectory('/etc/x')).rejects.toMatchObject(refused);
  await driver.checkTablespaceDirectory(path.join(drive, 'free'));
});

test('a path through a file is refused before anything is made', async () => {
  await writeFile(path.join(drive, 'file'), '');
  await expect(driver.checkTablespaceDirectory(path.join(drive, 'file', 'x'))).rejects.toMatchObject(refused);
});

test('a folder that somebody else could turn into a link is not gone through', async () => {
  const theirs = path.join(drive, 'postgres');
  await mkdir(theirs);
  const identity = await serverIdentity();
  if (identity.switched) {
    await chownTo(theirs, identity);
    await expect(ensure(mine, path.join(theirs, 'x'))).rejects.toMatchObject(refused);
  }
  await runTool('/bin/chmod', ['0775', theirs]);
  await expect(ensure(mine, path.join(theirs, 'x'))).rejects.toMatchObject(refused);
});

test('64 links of one standby, and removal takes them away', async () => {
  for (let each = 1; each < 64; each++) await ensure(other, path.join(drive, 'many', String(each)));
  await expect(ensure(other, path.join(drive, 'many', '64'))).rejects.toMatchObject(refused);
  await ensure(other, path.join(drive, 'many', '1'));
  await driver.remove(other);
  await driver.remove(other);
  expect(await readdir(path.join(drive, 'many'))).toEqual([]);
  await expect(lstat(path.join(drive, 'town', 'permits'))).rejects.toMatchObject({ code: 'ENOENT' });
});
