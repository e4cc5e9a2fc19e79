import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import type { TestAgency } from '#test/agency';
import { SmallDisk } from '#test/small-disk';
import type { WarmSite } from '#test/warm-site';
import { WarmWorld } from '#test/warm-world';

const MEGABYTE = 1024 * 1024;
const FULL = 'driver.disk-full';
const refusal = await SmallDisk.refusal();

// One standby on a disk that fills: while it is copied, and while it streams in either mode.
describe.skipIf(refusal !== null)(`a site with a full disk${refusal === null ? '' : ` (not run: ${refusal})`}`, () => {
  const world = new WarmWorld();
  let disk: SmallDisk;
  let agency: TestAgency;
  let metro: WarmSite;

  beforeAll(async () => {
    disk = await SmallDisk.mount(384 * MEGABYTE);
    ({ agency } = await world.openAgency({ max_wal_size: '64MB' }));
    // Little of it can be compressed, so that a bandwidth limit is felt.
    await agency.query(`INSERT INTO permit (note)
      SELECT (SELECT string_agg(md5(random()::text || n || m), '') FROM generate_series(1, 30) m) FROM generate_series(1, 15000) n`);
    const standbys = {
      root: disk.directory,
      durable: false,
      seedReserveBytes: 32 * MEGABYTE,
      walReserveBytes: 128 * MEGABYTE,
    };
    metro = await world.openSite('metro', { standbys });
  });
  afterAll(async () => {
    await disk?.clear().catch(() => undefined);
    await world.close();
    await disk?.unmount();
  });

  const armed = () =>
    metro.until('the metro to be armed', ({ state, armed }) => state === 'streaming' && armed === true);
  const alarmed = async () => {
    const { alarms } = await metro.until('the alarm', (health) => health.alarms.some(({ code }) => code === FULL));
    expect(alarms.find(({ code }) => code === FULL)?.remedy).toContain('Add space at the site');
  };
  const write = (note: string) => agency.query(`INSERT INTO permit (note) VALUES ('${note}')`);
  /** Past the metro, so that the log grows while nobody acknowledges it. */
  const grow = () =>
    agency.query(`SET synchronous_commit = local;
      INSERT INTO permit (note) SELECT md5(random()::text || n) FROM generate_series(1, 20000) n`);
  /** The walreceiver has ended for want of space. */
  const ended = () =>
    waitFor(
      'the stream to end',
      async () => {
        await grow();
        const { length } = await agency.query('SELECT FROM pg_stat_replication');
        return length === 0;
      },
      { timeoutMs: 20_000 },
    );
  const whole = async () => {
    const sum = 'SELECT sum(hashtextextended(p::text, 0))::text AS sum, count(*)::text AS n FROM permit p';
    const [ours] = await agency.query<{ sum: string; n: string }>(sum);
    await waitFor(
      'the standby to have every row',
      async () => {
        const [theirs] = await metro.sql<{ sum: string; n: string }>(sum);
        return theirs?.sum === ours?.sum && theirs?.n === ours?.n;
      },
      { timeoutMs: 20_000 },
    );
  };

  /** Every word of a copy's progress: what is left of one may be copied between two looks at its health. */
  const keepProgress = async () => {
    const address = new URL(inject('postgresUrl'));
    address.pathname = new URL(metro.home.database.url).pathname;
    const client = new pg.Client({ connectionString: address.href });
    await client.connect();
    await client.query(`
      CREATE TABLE seeding_seen (seeding jsonb);
      GRANT ALL ON seeding_seen TO PUBLIC;
      CREATE FUNCTION keep_progress() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN INSERT INTO seeding_seen VALUES (NEW.seeding); RETURN NULL; END $$;
      CREATE TRIGGER keep_progress AFTER UPDATE OF seeding ON standby FOR EACH ROW EXECUTE FUNCTION keep_progress()`);
    await client.end();
  };

  test('while it is copied: says so, leaves production alone, and goes on where it was once there is space', async () => {
    await metro.protect({ bandwidthBytesPerSecond: 6 * MEGABYTE });
    await keepProgress();
    await metro.until('a part to be copied', ({ seeding }) => (seeding?.bytesDone ?? 0) > 4 * MEGABYTE);
    await disk.fill();
    await metro.until('the copy to stop', ({ state }) => state === 'broken');
    await alarmed();
    await write('while nothing was copied');
    await disk.clear();
    await armed();
    const [copy] = await metro.work.run((tx) =>
      tx.query<{ resumedAt: number }>(
        `SELECT min((seeding->>'bytesDone')::float8) AS "resumedAt" FROM seeding_seen
          WHERE (seeding->>'attempt')::int > 1`,
      ),
    );
    expect(copy?.resumedAt).toBeGreaterThan(4 * MEGABYTE);
    await whole();
  }, 180_000);

  test('while it streams, strict: nothing is acknowledged until there is space, and then all is there', async () => {
    await disk.fill();
    await ended();
    let acknowledged = false;
    const waiting = write('waits for space').then(() => (acknowledged = true));
    await alarmed();
    await metro.until('it not to be armed', (health) => health.armed !== true);
    expect(acknowledged).toBe(false);
    await disk.clear();
    await waiting;
    await armed();
    await whole();
  }, 180_000);

  test('while it streams, available: production goes on alone, and is armed again once there is space', async () => {
    await metro.protect({ mode: 'available' });
    await armed();
    await disk.fill();
    await ended();
    await alarmed();
    await write('alone');
    await disk.clear();
    await armed();
    await whole();
    expect((await metro.health())?.alarms).toEqual([]);
  }, 180_000);
});
