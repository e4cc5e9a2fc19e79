import { statfs } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import type { ReplicationNames } from '#contracts/replication';
import type { SiteRole } from '#contracts/sites';
import { waitFor } from '#libs/platform/clock';
import { quoteIdentifier, quoteLiteral, type PostgresClient } from '#libs/platform/postgres';
import type { DurableValue, PostgresWorkload } from '#libs/sites/agent';
import { RegionalLeadsError, ReplicationRefusedError } from './errors.js';
import { underNamesLock } from './names-lock.js';
import { ledBy, synchronousNames } from './sample.js';

/** What ALTER SYSTEM said before Mainstay changed it: null when it said nothing. Put back at the release. */
export const settingsRecord = z.strictObject({ before: z.record(z.string(), z.string().nullable()) });
export type SettingsRecord = z.infer<typeof settingsRecord>;

const NAMES = 'synchronous_standby_names';
const RELOAD_MS = 5_000;
const MIB = 1_048_576;
/** Of the free space of the disk that pg_wal lies on; the rest is the agency's own. */
const SLOT_SHARE = 0.5;
const SLOT_LIMIT_MIN_MIB = 256;

/** How much log the slots may keep, from what the disk of pg_wal has free now, in whole MiB. */
export async function derivedSlotLimit(workload: PostgresWorkload): Promise<number> {
  const { bavail, bsize } = await statfs(path.join(workload.dataDirectory, 'pg_wal'));
  return Math.max(SLOT_LIMIT_MIN_MIB, Math.floor((bavail * bsize * SLOT_SHARE) / MIB));
}

/**
 * The settings that a protection makes in the agency's server, all of them by ALTER SYSTEM and effective without a
 * restart. What was there before is written down first, so that the release can put it back.
 */
export class ServerSettings {
  constructor(
    private readonly workload: PostgresWorkload,
    private readonly record: DurableValue<SettingsRecord>,
  ) {}

  /**
   * Bounds what slots may cost the agency's disk: a re-seed is better than a full disk. A tighter limit of the agency's
   * own stays.
   */
  async ensureSlotLimit(client: PostgresClient): Promise<void> {
    const { rows } = await client.query<{ mib: number }>(
      "SELECT setting::bigint::int AS mib FROM pg_settings WHERE name = 'max_slot_wal_keep_size'",
    );
    const current = rows[0]?.mib ?? -1;
    const limit = await derivedSlotLimit(this.workload);
    const record = await this.record.read();
    const ours = record !== undefined && 'max_slot_wal_keep_size' in record.before;
    if (!ours && current !== -1 && current <= limit) return;
    // Small changes of the free space are not worth a reload.
    if (ours && Math.abs(current - limit) < limit * 0.2) return;
    await this.set(client, 'max_slot_wal_keep_size', `${limit}MB`);
  }

  /**
   * @throws RegionalLeadsError, which only the tunnel changes; ReplicationRefusedError when the server goes on saying
   *   something else, or somebody is changing it.
   */
  async listMetro(client: PostgresClient, names: ReplicationNames): Promise<void> {
    const wanted = synchronousNames(names);
    if ((await this.show(client, NAMES)) !== wanted) {
      await underNamesLock(client, async () => {
        // What the next reload would make of it counts as well: a change may have been cut off before its reload.
        const standing = [await this.show(client, NAMES), await this.filed(client, NAMES)];
        if (standing.some((setting) => ledBy(setting ?? '', names) === 'regional')) throw new RegionalLeadsError();
        await this.set(client, NAMES, wanted);
      });
    }
    await this.expect(client, NAMES, wanted);
  }

  /** Nothing to do when somebody else's names stand there, or the other site's. */
  async unlist(client: PostgresClient, role: SiteRole, names: ReplicationNames): Promise<void> {
    if (ledBy(await this.show(client, NAMES), names) !== role) return;
    await underNamesLock(client, async () => {
      if (ledBy(await this.show(client, NAMES), names) === role) await this.restore(client, NAMES);
    });
  }

  /** Puts back whatever Mainstay has changed. */
  async restoreAll(client: PostgresClient): Promise<void> {
    const record = await this.record.read();
    for (const name of Object.keys(record?.before ?? {})) await this.restore(client, name);
    await this.record.clear();
  }

  private async show(client: PostgresClient, name: string): Promise<string> {
    const { rows } = await client.query<{ value: string }>('SELECT current_setting($1) AS value', [name]);
    return rows[0]?.value ?? '';
  }

  /** What ALTER SYSTEM has written; null when it has written nothing. */
  private async filed(client: PostgresClient, name: string): Promise<string | null> {
    const { rows } = await client.query<{ setting: string }>(
      `SELECT setting FROM pg_file_settings WHERE name = $1 AND sourcefile LIKE '%postgresql.auto.conf'
       ORDER BY seqno DESC LIMIT 1`,
      [name],
    );
    return rows[0]?.setting ?? null;
  }

  private async set(client: PostgresClient, name: string, value: string): Promise<void> {
    const record = (await this.record.read()) ?? { before: {} };
    if (!(name in record.before)) {
      await this.record.write({ before: { ...record.before, [name]: await this.filed(client, name) } });
    }
    await client.query(`ALTER SYSTEM SET ${quoteIdentifier(name)} = ${quoteLiteral(value)}`);
    await this.reload(client);
  }

  private async restore(client: PostgresClient, name: string): Promise<void> {
    const record = await this.record.read();
    const before = record?.before[name] ?? null;
    await client.query(
      before === null
        ? `ALTER SYSTEM RESET ${quoteIdentifier(name)}`
        : `ALTER SYSTEM SET ${quoteIdentifier(name)} = ${quoteLiteral(before)}`,
    );
    await this.reload(client);
    if (record && name in record.before) {
      const rest = Object.entries(record.before).filter(([other]) => other !== name);
      await this.record.write({ before: Object.fromEntries(rest) });
    }
  }

  /** Returns once the server has read its settings again. */
  private async reload(client: PostgresClient): Promise<void> {
    const loaded = async () =>
      (await client.query<{ at: string }>('SELECT pg_conf_load_time()::text AS at')).rows[0]?.at;
    const before = await loaded();
    await client.query('SELECT pg_reload_conf()');
    await waitFor('the server to read its settings', async () => (await loaded()) !== before, {
      timeoutMs: RELOAD_MS,
      everyMs: 20,
    });
  }

  private async expect(client: PostgresClient, name: string, wanted: string): Promise<void> {
    const { rows } = await client.query<{ setting: string; source: string; sourcefile: string | null }>(
      'SELECT setting, source, sourcefile FROM pg_settings WHERE name = $1',
      [name],
    );
    const [row] = rows;
    if (row?.setting === wanted) return;
    throw new ReplicationRefusedError(
      'setting-overridden',
      `The server does not take ${name} from ALTER SYSTEM. Remove it from where it is set (${row?.sourcefile ?? row?.source ?? 'unknown'}) and arm again.`,
      { detail: `wanted ${wanted}, is ${row?.setting} from ${row?.source}` },
    );
  }
}
