import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { waitFor } from '../../clock/wait.js';
import { connectionString } from '../client.js';
import { parseLsn } from '../lsn.js';
import { testFolder, TestServer } from '../testing/index.js';
import { ownedDirectory } from '../identity.js';
import {
  BackupReceiver,
  BackupSource,
  isIncomplete,
  type BackupProgress,
  type BackupTransport,
  type ReceiveOptions,
} from './index.js';
import { bound, cutting } from './test-line.js';

let primary: TestServer;
const standbys: TestServer[] = [];
const sources: BackupSource[] = [];
const folders: string[] = [];

beforeAll(async () => {
  primary = await TestServer.primary(await testFolder('backup'), { max_slot_wal_keep_size: -1 }, 'county_admin');
  await primary.pgbench(['-i', '-s', '6', '-q']);
  await primary.sql('CREATE UNLOGGED TABLE scratch AS SELECT generate_series(1, 100000) AS n');
});

afterEach(async () => {
  await Promise.all(sources.splice(0).map((source) => source.close()));
  await Promise.all(standbys.splice(0).map((standby) => standby.remove()));
  await Promise.all(folders.splice(0).map((folder) => rm(folder, { recursive: true, force: true })));
});

afterAll(() => primary.remove());

test('a copy under load that is cut again and again goes on where it stopped, and becomes a standby', async () => {
  await primary.sql("SELECT pg_create_physical_replication_slot('cut', true)");
  const load = new AbortController();
  const running = primary.pgbench(['-c', '3', '-T', '60', '-n'], load.signal).catch(() => undefined);
  const source = sourceOf(primary);
  const folder = await newFolder('standby');
  const seen: BackupProgress[] = [];
  const options = { ...receiveInto(folder), onProgress: (progress: BackupProgress) => seen.push(progress) };

  let transferred = 0;
  for (const cutAfter of [20_000_000, 45_000_000]) {
    const cut = cutting(source, cutAfter);
    await expect(new BackupReceiver({ ...options, transport: cut.transport }).receive()).rejects.toThrow(
      'line was cut',
    );
    transferred += cut.bytes();
    expect(await isIncomplete(path.join(folder, 'data'))).toBe(true);
    expect(await ls(path.join(folder, 'data', 'global'))).not.toContain('pg_control');
  }
  expect(source.openSessions).toBe(1);
  const whole = cutting(source, Number.POSITIVE_INFINITY);
  const receiver = new BackupReceiver({ ...options, transport: whole.transport });
  const session = await receiver.receive();
  load.abort();
  await running;
  await quiet(primary);

  expect(session).toMatchObject({ superuser: 'county_admin', fromStandby: false, timeline: 1, tablespaces: [] });
  expect(await isIncomplete(path.join(folder, 'data'))).toBe(false);
  expect(source.openSessions).toBe(0);
  const last = seen.at(-1);
  expect(last?.bytesDone).toBe(last?.bytesTotal);
  // All attempts together cost little more than one: at most the pieces under way at each cut were sent again.
  expect(last?.bytesTransferred).toBe(transferred + whole.bytes());
  expect(last?.bytesTotal).toBeGreaterThan(90_000_000);
  // Asked again, a finished copy is finished.
  expect(await receiver.receive()).toEqual(session);
  expect(whole.bytes()).toBe((last?.bytesTransferred ?? 0) - transferred);

  const names = await ls(path.join(folder, 'data'));
  expect(names).not.toContain('postgresql.conf');
  expect(names).not.toContain('postmaster.pid');
  expect((await stat(path.join(folder, 'data', 'base'))).mode & 0o777).toBe(0o700);
  const standby = await startStandby(folder, primary, 'cut');
  await catchUp(primary, standby);
  expect(await standby.checksum()).toBe(await primary.checksum());
  await standby.sql('SELECT pg_promote(true)');
  expect(await standby.sql('SELECT count(*)::int AS n FROM scratch')).toEqual([{ n: 0 }]);
  await primary.sql("SELECT pg_drop_replication_slot('cut')");
});

test('a restarted source and an old standby cost only the blocks that differ', async () => {
  const folder = await newFolder('delta');
  const first = sourceOf(primary);
  const cut = cutting(first, 60_000_000);
  await expect(new BackupReceiver({ ...receiveInto(folder), transport: cut.transport }).receive()).rejects.toThrow();
  await first.close();

  const second = cutting(sourceOf(primary), Number.POSITIVE_INFINITY);
  const receiver = new BackupReceiver({ ...receiveInto(folder), transport: second.transport });
  await receiver.receive();
  const standby = await startStandby(folder, primary);
  await catchUp(primary, standby);
  await standby.server.stop('fast');

  // The standby goes its own way, and what lies in its directory is then an old state with strays.
  await writeFile(path.join(folder, 'data', 'base', 'stray'), 'x');
  await primary.sql('UPDATE pgbench_tellers SET filler = $1', ['changed']);
  await primary.sql('CHECKPOINT');
  await receiver.forget();
  const third = cutting(sourceOf(primary), Number.POSITIVE_INFINITY);
  await new BackupReceiver({ ...receiveInto(folder), transport: third.transport }).receive();
  expect(third.bytes()).toBeLessThan((cut.bytes() + second.bytes()) / 4);
  expect(await ls(path.join(folder, 'data', 'base'))).not.toContain('stray');
  expect(await ls(path.join(folder, 'data', 'pg_wal'))).toEqual(['archive_status']);
  await writeFile(path.join(folder, 'data', 'standby.signal'), '');
  await standby.configure(standbySettings(primary));
  await standby.start();
  await catchUp(primary, standby);
  expect(await standby.checksum()).toBe(await primary.checksum());
});

test('a standby serves another standby, and tablespaces are placed where the receiver says', async () => {
  const location = await ownedDirectory(path.join(primary.folder, 'archive drive'));
  await primary.sql(`CREATE TABLESPACE archive LOCATION '${location}'`);
  await primary.sql('CREATE TABLE old_permits TABLESPACE archive AS SELECT generate_series(1, 50000) AS id');
  const folder = await newFolder('metro');
  const place = async () => path.join(folder, 'tablespaces', 'archive');
  await expect(
    new BackupReceiver({ ...receiveInto(folder), transport: sourceOf(primary) }).receive(),
  ).rejects.toMatchObject({ code: 'backup.refused' });
  await new BackupReceiver({
    ...receiveInto(folder),
    transport: sourceOf(primary),
    tablespaceDirectory: place,
  }).receive();
  const metro = await startStandby(folder, primary);
  await catchUp(primary, metro);

  const load = new AbortController();
  const running = primary.pgbench(['-c', '2', '-T', '60', '-n'], load.signal).catch(() => undefined);
  const regionalFolder = await newFolder('regional');
  const session = await new BackupReceiver({
    ...receiveInto(regionalFolder),
    compress: true,
    sync: true,
    transport: sourceOf(metro),
    tablespaceDirectory: async () => path.join(regionalFolder, 'ts'),
  }).receive();
  load.abort();
  await running;
  await quiet(primary);
  expect(session.fromStandby).toBe(true);
  expect(session.tablespaces).toEqual([expect.objectContaining({ location: '../../tablespaces/archive' })]);
  const label = await readFile(path.join(regionalFolder, 'data', 'backup_label'), 'utf8');
  expect(label).toContain('BACKUP FROM: standby');
  const regional = await startStandby(regionalFolder, primary);
  await catchUp(primary, regional);
  expect(await regional.checksum()).toBe(await primary.checksum());
  expect(await regional.sql('SELECT sum(id)::int AS sum FROM old_permits')).toEqual([{ sum: 1_250_025_000 }]);
});

test('the bandwidth limit holds for the bytes that cross the line', async () => {
  const folder = await newFolder('slow');
  const limit = 2_000_000;
  const stop = new AbortController();
  const counted = cutting(sourceOf(primary), Number.POSITIVE_INFINITY);
  const samples: { at: number; bytes: number }[] = [];
  const begun = performance.now();
  const receiver = new BackupReceiver({
    ...receiveInto(folder),
    tablespaceDirectory: async () => path.join(folder, 'ts'),
    transport: counted.transport,
    bandwidthBytesPerSecond: limit,
    signal: stop.signal,
    onProgress: () => {
      samples.push({ at: performance.now() - begun, bytes: counted.bytes() });
      if (counted.bytes() > 3 * limit) stop.abort(new Error('enough'));
    },
  });
  await expect(receiver.receive()).rejects.toThrow('enough');
  for (const { at, bytes } of samples) {
    // The burst, and one request per worker that was begun on credit.
    expect(bytes).toBeLessThanOrEqual((at / 1_000) * limit + limit / 4 + 1_000_000);
  }
});

test('a source gives nothing but what a backup holds, and its sessions run out', async () => {
  const source = sourceOf(primary, 50);
  const { sessionId } = await source.begin({ label: 'probe', sessionId: null });
  for (const wanted of ['postgresql.conf', '../server.log', 'pg_wal/000000010000000000000001', 'global/pg_control']) {
    const request = { sessionId, ranges: [{ path: wanted, offset: 0, length: 100 }], compress: false };
    await expect(source.read(request)).rejects.toMatchObject({ code: 'backup.refused' });
  }
  await waitFor('the idle session to run out', () => source.openSessions === 0, { timeoutMs: 5_000 });
  await expect(source.finish({ sessionId })).rejects.toMatchObject({ code: 'backup.session-lost' });
  const [row] = await primary.sql<{ n: number }>(
    "SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = 'backup source'",
  );
  expect(row?.n).toBe(0);
});

test('a receiver takes no file that could change how the server runs', async () => {
  const source = sourceOf(primary);
  const folder = await newFolder('planted');
  const planting: BackupTransport = {
    ...bound(source),
    manifest: async (request) => {
      const page = await source.manifest(request);
      return { ...page, entries: [...page.entries, { path: 'postgresql.auto.conf', kind: 'file', size: 10 }] };
    },
  };
  const receiving = new BackupReceiver({ ...receiveInto(folder), transport: planting }).receive();
  await expect(receiving).rejects.toMatchObject({ code: 'backup.refused' });
});

function sourceOf(server: TestServer, idleExpiryMs?: number): BackupSource {
  const source = new BackupSource({
    dataDirectory: server.server.directory,
    connect: () =>
      server.connect().then(async (client) => {
        await client.query("SET application_name = 'backup source'");
        return client;
      }),
    ...(idleExpiryMs === undefined ? {} : { idleExpiryMs }),
  });
  sources.push(source);
  return source;
}

async function newFolder(name: string): Promise<string> {
  const folder = await testFolder(name);
  folders.push(folder);
  return folder;
}

function receiveInto(folder: string): Omit<ReceiveOptions, 'transport'> {
  return {
    directory: path.join(folder, 'data'),
    stateDirectory: path.join(folder, 'receipt'),
    label: 'metro-1',
    compress: false,
    sync: false,
  };
}

function standbySettings(upstream: TestServer, slot?: string) {
  return {
    primary_conninfo: connectionString({
      host: '127.0.0.1',
      port: upstream.port,
      user: upstream.superuser,
      application_name: 'metro',
    }),
    hot_standby: true,
    ...(slot ? { primary_slot_name: slot } : {}),
  };
}

async function startStandby(folder: string, upstream: TestServer, slot?: string): Promise<TestServer> {
  await writeFile(path.join(folder, 'data', 'standby.signal'), '');
  const standby = await TestServer.on(folder, upstream.superuser, standbySettings(upstream, slot));
  standbys.push(standby);
  await standby.start();
  return standby;
}

/** A killed client's last transaction may still commit. */
async function quiet(server: TestServer): Promise<void> {
  const query = "SELECT 1 AS one FROM pg_stat_activity WHERE application_name = 'pgbench'";
  await waitFor('pgbench to leave', async () => (await server.sql(query)).length === 0, { timeoutMs: 10_000 });
}

async function catchUp(upstream: TestServer, standby: TestServer): Promise<void> {
  const [head] = await upstream.sql<{ lsn: string }>('SELECT pg_current_wal_flush_lsn() AS lsn');
  await waitFor(
    'the standby to replay all',
    async () => {
      const [row] = await standby.sql<{ lsn: string | null }>('SELECT pg_last_wal_replay_lsn() AS lsn');
      return row?.lsn !== null && parseLsn(row?.lsn ?? '0/0') >= parseLsn(head?.lsn ?? '0/0');
    },
    { timeoutMs: 30_000 },
  );
}

function ls(directory: string): Promise<string[]> {
  return readdir(directory).catch(() => []);
}
