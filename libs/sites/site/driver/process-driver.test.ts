import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import {
  childProcesses,
  postgresProcessesIn,
  PostgresServer,
  findPostgres,
  quoteLiteral,
  signalProcess,
} from '#libs/platform/postgres';
import { testFolder, TestServer } from '#libs/platform/postgres/testing';
import { driverContract } from './driver.contract.js';
import { ProcessDriver } from './process-driver.js';
import { bringUp, catchUp, followTarget, headOf, PASSWORD, sourceOf, specification } from './testing/standby-scene.js';

async function makePrimary(): Promise<TestServer> {
  const primary = await TestServer.primary(await testFolder('agency'), {}, 'county_admin');
  await primary.pgbench(['-i', '-s', '1', '-q']);
  await primary.sql(`ALTER ROLE county_admin PASSWORD ${quoteLiteral(PASSWORD)}`);
  return primary;
}

driverContract('process', async () => {
  const root = await testFolder('site');
  const primary = await makePrimary();
  const open = () => new ProcessDriver({ root, durable: false });
  return {
    open,
    primary,
    clean: async () => {
      const driver = open();
      for (const { workloadId } of await driver.list()) await driver.remove(workloadId);
      await primary.remove();
      await rm(root, { recursive: true, force: true });
    },
  };
});

describe('standbys as processes', () => {
  let root: string;
  let primary: TestServer;
  let driver: ProcessDriver;
  const workloadId = randomUUID();
  let slot: string;

  beforeAll(async () => {
    root = await testFolder('site');
    primary = await makePrimary();
    driver = new ProcessDriver({ root, durable: false });
    slot = await bringUp(driver, primary, workloadId);
    await catchUp(driver, workloadId, await headOf(primary));
  });
  afterAll(async () => {
    await driver.remove(workloadId);
    await primary.remove();
    await rm(root, { recursive: true, force: true });
  });

  const data = () => path.join(root, 'volumes', workloadId, 'data');
  const receiver = async () => {
    const server = await PostgresServer.at(await findPostgres(), data());
    const postmaster = await server.running();
    const children = await childProcesses(postmaster?.pid ?? 0);
    return children.find((child) => child.title.includes('walreceiver'))?.pid;
  };

  test('the password is in a file for PostgreSQL’s user alone, and nowhere else', async () => {
    const home = path.join(root, 'standbys', workloadId);
    const passfile = path.join(home, 'passfile');
    expect((await stat(passfile)).mode & 0o777).toBe(0o600);
    expect(await readFile(passfile, 'utf8')).toContain('not\\:needed\\\\');
    for (const file of [path.join(home, 'standby.json'), path.join(data(), 'postgresql.conf')]) {
      expect(await readFile(file, 'utf8')).not.toContain('needed');
    }
    expect((await stat(path.join(root, 's'))).isDirectory()).toBe(true);
  });

  test('a frozen walreceiver is ended without a restart of the recovery', async () => {
    const pid = await waitFor('a walreceiver', receiver, { timeoutMs: 10_000 });
    signalProcess(pid, 'SIGSTOP');
    const paused = await driver.pauseReceiving(workloadId);
    expect(paused).toEqual({ hadReceiver: true, killed: false });
    expect(await receiver()).toBeUndefined();
    await driver.follow(workloadId, followTarget(primary.port, slot));
    await primary.sql('CREATE TABLE thawed ()');
    await catchUp(driver, workloadId, await headOf(primary));
  });

  test('one that does not leave is killed after the given time, and the standby has all it had', async () => {
    await primary.pgbench(['-c', '2', '-t', '200', '-n']);
    await catchUp(driver, workloadId, await headOf(primary));
    const { flushedLsn } = await driver.position(workloadId);
    const pid = await waitFor('a walreceiver', receiver, { timeoutMs: 10_000 });
    signalProcess(pid, 'SIGSTOP');
    const paused = await driver.pauseReceiving(workloadId, 0);
    expect(paused).toEqual({ hadReceiver: true, killed: true });
    const after = await waitFor(
      'the recovery to know its end',
      async () => (await driver.position(workloadId)).flushedLsn,
      { timeoutMs: 20_000 },
    );
    expect(after).toBe(flushedLsn);
    await driver.follow(workloadId, followTarget(primary.port, slot));
    await primary.sql('CREATE TABLE recovered ()');
    await catchUp(driver, workloadId, await headOf(primary));
    expect(await receiver()).toBeDefined();
  });

  test('finished WAL is kept from the first segment on, byte for byte', async () => {
    await primary.sql("SELECT pg_switch_wal() FROM pg_logical_emit_message(false, 'x', 'y')");
    await primary.sql("SELECT pg_switch_wal() FROM pg_logical_emit_message(false, 'x', 'y')");
    await primary.sql("SELECT pg_logical_emit_message(false, 'x', 'y')");
    await catchUp(driver, workloadId, await headOf(primary));
    await waitFor('two segments to be kept', async () => (await driver.usage(workloadId)).walSegments >= 2, {
      timeoutMs: 20_000,
    });
    const [system] = await readdir(path.join(root, 'wal', workloadId));
    const kept = path.join(root, 'wal', workloadId, system!);
    const segments = (await readdir(kept)).sort();
    const theirs = path.join(primary.server.directory, 'pg_wal');
    for (const segment of segments) {
      expect((await readFile(path.join(kept, segment))).equals(await readFile(path.join(theirs, segment)))).toBe(true);
    }
    expect((await driver.usage(workloadId)).walMissing).toBe(0);
  });

  test('a disk that runs full costs kept WAL, and never the standby', async () => {
    const full = new ProcessDriver({ root, durable: false, walReserveBytes: 2 ** 50 });
    await full.raiseParameters(workloadId, {});
    for (let segment = 0; segment < 3; segment++) {
      await primary.sql("SELECT pg_switch_wal() FROM pg_logical_emit_message(false, 'x', 'y')");
    }
    await primary.sql("SELECT pg_logical_emit_message(true, 'x', 'y')");
    await catchUp(full, workloadId, await headOf(primary));
    await waitFor('the gap to be noted', async () => (await full.usage(workloadId)).walMissing >= 2, {
      timeoutMs: 20_000,
    });
    expect(await full.position(workloadId)).toMatchObject({ receiverStatus: 'streaming' });
    await driver.raiseParameters(workloadId, {});
  });

  test('killed with -9, a standby comes back and a seeding that was cut off is not started', async () => {
    const server = await PostgresServer.at(await findPostgres(), data());
    await server.kill9();
    expect(await driver.phase(workloadId)).toBe('stopped');
    await driver.ensureRunning(workloadId);
    await catchUp(driver, workloadId, await headOf(primary));

    const half = randomUUID();
    await driver.prepareStandby(half, specification());
    const source = sourceOf(primary);
    const stop = new AbortController();
    const seeding = driver.seed(half, source, {
      label: 'half',
      signal: stop.signal,
      bandwidthBytesPerSecond: 2_000_000,
      onProgress: ({ bytesDone }) => bytesDone > 0 && stop.abort(new Error('cut')),
    });
    await expect(seeding).rejects.toThrow('cut');
    expect(await driver.phase(half)).toBe('seeding');
    await expect(driver.ensureRunning(half)).rejects.toMatchObject({ code: 'driver.not-seeded' });
    await driver.seed(half, source, { label: 'half' });
    await source.close();
    expect(await driver.phase(half)).toBe('stopped');
    await driver.remove(half);
  });

  test('removal ends the server and leaves no file, whatever was left half removed', async () => {
    const gone = randomUUID();
    const goneSlot = await bringUp(driver, primary, gone);
    const folder = path.join(root, 'volumes', gone, 'data');
    expect(await postgresProcessesIn(folder)).not.toEqual([]);
    await driver.remove(gone);
    // Cut off once the data had gone.
    await driver.prepareStandby(gone, specification());
    await rm(path.join(root, 'volumes', gone), { recursive: true });
    expect((await driver.list()).map((each) => each.workloadId)).toContain(gone);
    await driver.remove(gone);
    await mkdir(path.join(root, 'wal', gone));
    expect((await driver.list()).map((each) => each.workloadId)).toContain(gone);
    await driver.remove(gone);
    for (const part of ['volumes', 'wal', 'standbys', 's']) {
      expect((await readdir(path.join(root, part))).filter((name) => name.startsWith(gone.slice(0, 8)))).toEqual([]);
    }
    await waitFor(
      'the slot to be free',
      async () => {
        const rows = await primary.sql('SELECT 1 FROM pg_replication_slots WHERE slot_name = $1 AND NOT active', [
          goneSlot,
        ]);
        return rows.length === 1;
      },
      { timeoutMs: 10_000 },
    );
  });
});
