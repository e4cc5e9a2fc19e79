import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { errorText } from '#libs/platform/errors';
import { parseLsn, withClient } from '#libs/platform/postgres';
import type { BackupTransport } from '#libs/platform/postgres/backup';
import type { TestServer } from '#libs/platform/postgres/testing';
import type { SiteDriver } from './driver.js';
import { bringUp, catchUp, followTarget, headOf, PASSWORD, specification } from './testing/standby-scene.js';

export interface DriverHarness {
  /** The driver as a new process would have it: the same state, nothing in memory. */
  readonly open: () => SiteDriver;
  /** A primary whose superuser is `county_admin` with {@link PASSWORD}, with pgbench's tables. */
  readonly primary: TestServer;
  readonly clean: () => Promise<void>;
}

/** What every driver must do, on real servers. */
export function driverContract(name: string, make: () => Promise<DriverHarness>): void {
  describe(`${name} driver`, () => {
    let harness: DriverHarness;
    let driver: SiteDriver;
    const metro = randomUUID();
    const regional = randomUUID();

    beforeAll(async () => {
      harness = await make();
      driver = harness.open();
    });
    afterAll(() => harness.clean());

    const count = async (workloadId: string) => {
      const client = await driver.connect(workloadId, 'contract');
      const { rows } = await client.query<{ n: number }>('SELECT count(*)::int AS n FROM public.notes');
      await client.end();
      return rows[0]?.n;
    };

    test('says what it has, and refuses what it cannot run', async () => {
      const capacity = await driver.capacity();
      expect(capacity.diskFreeBytes).toBeGreaterThan(0);
      expect(capacity.diskBytes).toBeGreaterThanOrEqual(capacity.diskFreeBytes);
      expect(await driver.supportedMajors()).toContain(15);
      await expect(driver.prepareStandby(metro, { ...specification(), majorVersion: 9 })).rejects.toMatchObject({
        code: 'driver.version-unsupported',
        kind: 'precondition',
      });
      const build = await driver.build(15);
      expect(build).toMatchObject({ majorVersion: 15, settings: { block_size: '8192' } });
      const [{ text } = { text: '' }] = await harness.primary.sql<{ text: string }>('SELECT version() AS text');
      expect(text).toContain(` on ${build.platform},`);
      expect(build.extensions['plpgsql']).toEqual(['1.0']);
      expect(build.libraries).toContain('plpgsql');
      expect(build.locales).toContain('C');
      await expect(driver.build(9)).rejects.toMatchObject({ code: 'driver.version-unsupported' });
      expect(await driver.list()).toEqual([]);
      expect(await driver.phase(metro)).toBeUndefined();
      await expect(driver.ensureRunning(metro)).rejects.toMatchObject({ code: 'driver.not-prepared' });
    });

    test('seeds a standby that follows, with settings of its own and not the source’s', async () => {
      await harness.primary.sql('CREATE TABLE notes (id serial PRIMARY KEY, note text)');
      // As an earlier life of the primary may have left it; it must not go over.
      await harness.primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'somebody'");
      const endpoint = await driver.prepareStandby(metro, specification({ timezone: 'Mars/Phobos', work_mem: '7MB' }));
      expect(await driver.phase(metro)).toBe('prepared');
      await expect(driver.ensureRunning(metro)).rejects.toMatchObject({ code: 'driver.not-seeded' });
      await bringUp(driver, harness.primary, metro);
      await harness.primary.sql('ALTER SYSTEM RESET synchronous_standby_names');
      expect(await driver.phase(metro)).toBe('running');
      expect(await driver.endpoint(metro)).toEqual(endpoint);
      await catchUp(driver, metro, await headOf(harness.primary));
      expect(await driver.refusedParameters(metro)).toEqual(['timezone']);
      const client = await driver.connect(metro, 'contract');
      const { rows } = await client.query<{ name: string; value: string }>(
        `SELECT name, current_setting(name) AS value FROM unnest(ARRAY['synchronous_standby_names', 'work_mem',
           'archive_mode', 'max_connections', 'listen_addresses', 'is_superuser', 'session_authorization']) AS name`,
      );
      await client.end();
      expect(Object.fromEntries(rows.map((row) => [row.name, row.value]))).toEqual({
        synchronous_standby_names: '',
        work_mem: '7MB',
        archive_mode: 'always',
        max_connections: '100',
        listen_addresses: '127.0.0.1',
        is_superuser: 'on',
        session_authorization: 'county_admin',
      });
      const [walsender] = await harness.primary.sql('SELECT application_name, state FROM pg_stat_replication');
      expect(walsender).toEqual({ application_name: 'metro', state: 'streaming' });
    });

    test('reports its position, and repeats everything without harm, also as a new process', async () => {
      driver = harness.open();
      await harness.primary.sql("INSERT INTO notes (note) VALUES ('one')");
      const head = await headOf(harness.primary);
      await catchUp(driver, metro, head);
      const position = await driver.position(metro);
      expect(position).toMatchObject({
        inRecovery: true,
        timeline: 1,
        replayPaused: false,
        receiverStatus: 'streaming',
      });
      expect(parseLsn(position.flushedLsn!)).toBeGreaterThanOrEqual(parseLsn(head));
      await driver.ensureRunning(metro);
      await driver.follow(metro, followTarget(harness.primary.port, `s_${metro.slice(0, 8)}`));
      await driver.ensureStopped(metro);
      await driver.ensureStopped(metro);
      expect(await driver.phase(metro)).toBe('stopped');
      await driver.ensureRunning(metro);
      await waitFor('it to stream again', async () => (await driver.position(metro)).receiverStatus === 'streaming', {
        timeoutMs: 10_000,
      });
      expect(await count(metro)).toBe(1);
    });

    test('ends receiving and keeps it ended, and follows again', async () => {
      const paused = await driver.pauseReceiving(metro);
      expect(paused).toEqual({ hadReceiver: true, killed: false });
      expect(await driver.pauseReceiving(metro)).toEqual({ hadReceiver: false, killed: false });
      await harness.primary.sql("INSERT INTO notes (note) VALUES ('two')");
      await driver.ensureStopped(metro);
      await driver.ensureRunning(metro);
      await waitFor('its end to be known', async () => (await driver.position(metro)).flushedLsn !== null, {
        timeoutMs: 10_000,
      });
      const { flushedLsn, receiverStatus } = await driver.position(metro);
      const head = await headOf(harness.primary);
      expect(receiverStatus).toBeNull();
      expect(parseLsn(flushedLsn!)).toBeLessThan(parseLsn(head));
      await driver.follow(metro, followTarget(harness.primary.port, `s_${metro.slice(0, 8)}`));
      await catchUp(driver, metro, head);
      expect(await count(metro)).toBe(2);
    });

    test('stands a rise of the primary’s limits, which pauses replay until it is raised too', async () => {
      await harness.primary.configure({ max_connections: 150 });
      await harness.primary.server.stop('fast');
      await harness.primary.start();
      const rise = async () => (await driver.position(metro)).parametersInsufficient;
      await waitFor('the rise to arrive', rise, { timeoutMs: 20_000 });
      expect(await driver.raiseParameters(metro, { max_connections: '150' })).toBe(true);
      expect(await driver.raiseParameters(metro, { max_connections: '120' })).toBe(false);
      await catchUp(driver, metro, await headOf(harness.primary));
      expect(await driver.position(metro)).toMatchObject({ parametersInsufficient: false, replayPaused: false });
    });

    test('lets clients in by new rules without a restart', async () => {
      const desk = { type: 'host', database: 'all', user: 'desk', address: '127.0.0.1/32', method: 'reject' } as const;
      const answer = async () => {
        const who = { user: 'desk', password: 'wrong', database: 'postgres', applicationName: 'desk' };
        const client = { ...(await driver.endpoint(metro)), ...who };
        return withClient(client, () => Promise.resolve('in')).catch(errorText);
      };
      const answers = (what: RegExp) =>
        waitFor(`the answer ${what.source}`, async () => what.test(await answer()), { timeoutMs: 10_000 });
      const inside = await driver.connect(metro, 'test');
      await answers(/password authentication failed/);
      await driver.admit(metro, [desk, ...specification().hba]);
      await answers(/pg_hba.conf rejects/);
      await driver.admit(metro, specification().hba);
      await answers(/password authentication failed/);
      expect((await inside.query('SELECT 1')).rowCount).toBe(1);
      await inside.end();
    });

    test('serves another site’s seeding, and keeps slots for it', async () => {
      await driver.createSlot(metro, 'regional');
      await driver.createSlot(metro, 'regional');
      await driver.prepareStandby(regional, specification());
      const source = await driver.backupSource(metro);
      await driver.seed(regional, source, { label: 'regional' });
      await source.close();
      await driver.follow(regional, followTarget((await driver.endpoint(metro)).port, 'regional', 'regional'));
      await driver.ensureRunning(regional);
      await harness.primary.sql("INSERT INTO notes (note) VALUES ('three')");
      await catchUp(driver, regional, await headOf(harness.primary));
      expect(await count(regional)).toBe(3);
      await driver.createSlot(metro, 'other');
      await driver.dropSlot(metro, 'other');
      await driver.dropSlot(metro, 'other');
    });

    test('promotes once, with what it has and though its limits are too low, and the other site follows', async () => {
      await expect(driver.checkWritable(metro)).rejects.toMatchObject({ code: 'driver.standby' });
      await harness.primary.configure({ max_connections: 250 });
      await harness.primary.server.stop('fast');
      await harness.primary.start();
      await waitFor('the rise to arrive', async () => (await driver.position(metro)).parametersInsufficient, {
        timeoutMs: 20_000,
      });
      await harness.primary.server.kill9();
      await driver.pauseReceiving(metro);
      const before = (await driver.position(metro)).flushedLsn;
      const promotion = await driver.promote(metro);
      expect(promotion.timeline).toBe(2);
      expect(parseLsn(promotion.forkLsn)).toBeGreaterThanOrEqual(parseLsn(before!) - 64n);
      expect(await harness.open().promote(metro)).toEqual(promotion);
      await driver.checkWritable(metro);
      expect(await driver.position(metro)).toMatchObject({ inRecovery: false, timeline: 2 });
      const client = { user: 'county_admin', password: PASSWORD, applicationName: 'a client' };
      await withClient({ ...(await driver.endpoint(metro)), ...client }, (each) =>
        each.query("INSERT INTO notes (note) VALUES ('after')"),
      );
      // The regional has learned of the rise by replay, and takes the limits from there.
      await waitFor('the rise to arrive', async () => (await driver.position(regional)).parametersInsufficient, {
        timeoutMs: 20_000,
      });
      expect(await driver.raiseParameters(regional, {})).toBe(true);
      await waitFor('the regional to follow', async () => (await count(regional)) === 4, { timeoutMs: 20_000 });
      expect(await driver.position(regional)).toMatchObject({ inRecovery: true, timeline: 2 });
    });

    test('a promoted server stays one across a stop and a new process', async () => {
      driver = harness.open();
      await driver.ensureStopped(metro);
      await driver.ensureRunning(metro);
      await driver.checkWritable(metro);
      expect(await count(metro)).toBe(4);
      await expect(harness.open().promote(metro)).resolves.toMatchObject({ timeline: 2 });
      await expect(driver.follow(metro, followTarget(1, 'x'))).rejects.toMatchObject({ code: 'driver.not-a-standby' });
    });

    test('takes a diverged server back as a standby by seeding it anew', async () => {
      // Two servers of one history: the regional is promoted, too, and then made to follow the metro again.
      await driver.promote(regional);
      await driver.checkWritable(regional);
      const source: BackupTransport & { close(): Promise<void> } = await driver.backupSource(metro);
      await driver.seed(regional, source, { label: 'regional' });
      await source.close();
      expect(await driver.phase(regional)).toBe('stopped');
      await driver.createSlot(metro, 'regional');
      await driver.follow(regional, followTarget((await driver.endpoint(metro)).port, 'regional'));
      await driver.ensureRunning(regional);
      await catchUp(driver, regional, (await driver.position(metro)).flushedLsn!);
      expect(await driver.position(regional)).toMatchObject({ inRecovery: true, timeline: 2 });
    });

    test('refuses a copy that the disk cannot hold, before it is begun', async () => {
      const huge = randomUUID();
      await driver.prepareStandby(huge, specification());
      const source = await driver.backupSource(metro);
      const claiming: BackupTransport = {
        begin: (request) => source.begin(request),
        manifest: async (request) => ({ ...(await source.manifest(request)), totalBytes: 1e15 }),
        hashes: (request) => source.hashes(request),
        read: (request) => source.read(request),
        finish: (request) => source.finish(request),
        end: (request) => source.end(request),
      };
      await expect(driver.seed(huge, claiming, { label: 'huge' })).rejects.toMatchObject({ code: 'driver.disk-full' });
      await source.close();
      await driver.remove(huge);
    });

    test('removes everything, and again without harm', async () => {
      expect((await driver.list()).map((each) => each.workloadId).sort()).toEqual([metro, regional].sort());
      const usage = await driver.usage(metro);
      expect(usage.dataBytes).toBeGreaterThan(20_000_000);
      expect(usage.walSegments).toBeGreaterThan(0);
      expect(usage.walMissing).toBe(0);
      for (const each of [metro, regional, metro]) await driver.remove(each);
      expect(await driver.list()).toEqual([]);
      expect(await driver.phase(metro)).toBeUndefined();
    });
  });
}
