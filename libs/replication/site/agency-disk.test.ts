import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import type { TestAgency } from '#test/agency';
import { SmallDisk } from '#test/small-disk';
import type { WarmSite } from '#test/warm-site';
import { WarmWorld } from '#test/warm-world';

const MEGABYTE = 1024 * 1024;
const SEGMENT = 16 * MEGABYTE;
const refusal = await SmallDisk.refusal();
const world = new WarmWorld();
let disk: SmallDisk;
let agency: TestAgency;
let regional: WarmSite;

beforeAll(async () => {
  if (refusal !== null) return;
  disk = await SmallDisk.mount(1024 * MEGABYTE);
  ({ agency } = await world.openAgency({ max_wal_size: '64MB', min_wal_size: '32MB' }, disk.directory));
  // Alone, so that no write waits for it.
  regional = await world.openSite('regional');
});
afterAll(async () => {
  await world.close();
  await disk?.unmount();
});

const slot = async () =>
  (
    await agency.query<{ status: string; active: boolean }>(
      'SELECT wal_status AS status, active FROM pg_replication_slots',
    )
  )[0];
const write = (note: string) => agency.query(`INSERT INTO permit (note) VALUES ('${note}')`);

test.skipIf(refusal !== null)(
  `a site that stays away costs the agency's disk its bound and no more${refusal === null ? '' : ` (not run: ${refusal})`}`,
  async () => {
    await regional.protect();
    await regional.until('the regional to stream', ({ state }) => state === 'streaming');
    const [bound] = await agency.query<{ bytes: string }>(
      `SELECT setting::bigint * 1048576 AS bytes FROM pg_settings WHERE name = 'max_slot_wal_keep_size'`,
    );
    expect(Number(bound?.bytes)).toBeGreaterThan(0);
    const atFirst = await disk.free();
    expect(Number(bound?.bytes)).toBeLessThan(atFirst);
    regional.freeze();
    await agency.query('SELECT pg_terminate_backend(pid) FROM pg_stat_replication');
    // More log than the disk could hold.
    let least = atFirst;
    for (let written = 0; written < atFirst + 4 * SEGMENT; written += SEGMENT) {
      await write('the site is away');
      await agency.query('SELECT pg_switch_wal()');
      if (written % (4 * SEGMENT) === 0) await agency.query('CHECKPOINT');
      least = Math.min(least, await disk.free());
    }
    expect(least).toBeGreaterThan(64 * MEGABYTE);
    expect((await slot())?.status).toBe('lost');
    await agency.query('CHECKPOINT');
    expect(await disk.free()).toBeGreaterThan(atFirst - Number(bound?.bytes));

    regional.thaw();
    await waitFor('the regional to be copied anew and to follow', async () => (await slot())?.active, {
      timeoutMs: 30_000,
    });
    // What it said last before it was frozen may be `streaming` as well.
    await waitFor(
      'it to say why',
      async () => {
        const told = await regional.results<{ reason: string | null }>('replication.standby-changed');
        return told.some(({ reason }) => reason?.startsWith('slot-lost'));
      },
      { timeoutMs: 15_000 },
    );
    await regional.until('it to follow again', ({ state }) => state === 'streaming');
    await write('it is back');
    await waitFor(
      'what was written',
      async () => (await regional.sql(`SELECT FROM permit WHERE note = 'it is back'`)).length === 1,
      { timeoutMs: 30_000 },
    );
  },
);
