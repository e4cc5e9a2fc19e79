import { randomUUID } from 'node:crypto';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import type { PostgresClient } from '../client.js';
import { readPlain } from '../open-directory.js';
import { BackupSessionLostError } from './errors.js';
import { CONTROL_FILE } from './layout.js';
import { listDataDirectory, listTablespaces, type Listing } from './listing.js';
import type { BackupFinish, BackupSession } from './wire.js';

/** Before version 15 the functions had other names and an `exclusive` argument. */
const START = { old: 'SELECT pg_start_backup($1, $2, false) AS lsn', now: 'SELECT pg_backup_start($1, $2) AS lsn' };
const STOP = {
  old: 'SELECT lsn, labelfile FROM pg_stop_backup(false, false)',
  now: 'SELECT lsn, labelfile FROM pg_backup_stop(false)',
};
const FACTS = `
  SELECT current_setting('server_version_num')::int / 10000 AS major,
         pg_is_in_recovery() AS standby,
         (SELECT system_identifier::text FROM pg_control_system()) AS system,
         (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline,
         (SELECT bytes_per_wal_segment FROM pg_control_init()) AS segment,
         (SELECT rolname FROM pg_roles WHERE oid = 10) AS superuser`;

interface Facts {
  readonly major: number;
  readonly standby: boolean;
  readonly system: string;
  readonly timeline: number;
  readonly segment: number;
  readonly superuser: string;
}

/**
 * One backup that the server has begun: it lasts as long as the connection that began it, so that is a local one, which
 * no cut of the line to the receiver touches.
 */
export class OpenBackup {
  private finished: Promise<BackupFinish> | undefined;
  private lost = false;
  lastUsed = performance.now();

  private constructor(
    readonly label: string,
    readonly facts: BackupSession,
    readonly listing: Listing,
    private readonly dataDirectory: string,
    private readonly client: PostgresClient,
    /** Whose files the backup consists of; undefined where this process is no other user. */
    readonly owner: number | undefined,
  ) {
    client.once('end', () => (this.lost = true));
  }

  static async begin(label: string, dataDirectory: string, client: PostgresClient, fast: boolean): Promise<OpenBackup> {
    const { rows } = await client.query<Facts>(FACTS);
    const [facts] = rows;
    if (!facts) throw new Error('the server said nothing of itself');
    const started = await client.query<{ lsn: string }>(facts.major < 15 ? START.old : START.now, [label, fast]);
    const session: BackupSession = {
      sessionId: randomUUID(),
      startLsn: started.rows[0]?.lsn ?? '0/0',
      timeline: facts.timeline,
      systemIdentifier: facts.system,
      majorVersion: facts.major,
      walSegmentBytes: facts.segment,
      fromStandby: facts.standby,
      superuser: facts.superuser,
      tablespaces: await listTablespaces(dataDirectory),
    };
    const owner = process.getuid?.() === 0 ? (await stat(dataDirectory)).uid : undefined;
    return new OpenBackup(label, session, await listDataDirectory(dataDirectory), dataDirectory, client, owner);
  }

  /** @throws BackupSessionLostError once the server has forgotten the backup. */
  use(): void {
    if (this.lost && !this.finished) throw new BackupSessionLostError({ detail: `label ${this.label}` });
    this.lastUsed = performance.now();
  }

  isAlive(): boolean {
    return !this.lost || this.finished !== undefined;
  }

  /** Stops the backup; asked again it answers the same. */
  finish(): Promise<BackupFinish> {
    this.finished ??= this.stop();
    this.finished.catch(() => {
      // What the server refused to end is ended with the connection; the receiver begins anew.
      this.finished = undefined;
      void this.close();
    });
    return this.finished;
  }

  async close(): Promise<void> {
    this.lost = true;
    await this.client.end();
  }

  private async stop(): Promise<BackupFinish> {
    // Before the stop and after all else: a standby's recovery ends at the minimum recovery point that it names.
    const control = await readSteadily(path.join(this.dataDirectory, CONTROL_FILE), this.owner);
    const sql = this.facts.majorVersion < 15 ? STOP.old : STOP.now;
    const { rows } = await this.client.query<{ lsn: string; labelfile: string }>(sql);
    const [row] = rows;
    if (!row) throw new Error('the server did not end the backup');
    await this.client.end();
    return { stopLsn: row.lsn, backupLabel: row.labelfile, controlFile: control.toString('base64') };
  }
}

/** pg_control is rewritten in place: two equal reads show that none of them met a write halfway. */
async function readSteadily(file: string, owner: number | undefined): Promise<Buffer> {
  let last = await readPlain(file, owner);
  for (let attempt = 0; attempt < 50; attempt++) {
    const next = await readPlain(file, owner);
    if (next.equals(last)) return next;
    last = next;
  }
  throw new Error('pg_control does not come to rest');
}
