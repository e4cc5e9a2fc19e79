import { createHash } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { isUuid, SiteUnitOfWork } from '#libs/platform/database';
import { Metrics } from '#libs/platform/telemetry';
import type { RefusalKind, RepositoryTerms, VaultCaller, VaultLedger } from './ledger.js';
import { Turns } from './turns.js';
import { VaultCredentialError } from './vault.errors.js';
import { vaultRefusals } from './vault.metrics.js';
import type { VaultRole } from './vault-rules.js';

/** restic opens several connections and sends thousands of requests; a check against the database for each is too slow. */
const CHECKED_MS = 60_000;
const CHECKED_MAX = 10_000;
/** For so long what did not open is not asked about again. A credential is never made later with a name that was guessed. */
const REFUSED_MS = 10_000;
/** Of what nobody has shown yet so much is looked up at once: strangers' guesses leave the database to others. */
const LOOKED_UP_AT_ONCE = 8;
const LOOKED_UP_NEXT = 500;

/** Secrets are 32 random bytes, so a fast hash is as good as a slow one: there is nothing to guess. */
export const hashSecret = (secret: string): Buffer => createHash('sha256').update(secret).digest();

/** The vault's ledger in the site's database. */
@Injectable()
export class VaultLedgerRows implements VaultLedger {
  private readonly checked = new Map<string, { readonly caller: VaultCaller | undefined; readonly until: number }>();
  /** How often credentials have changed, as far as it was heard. */
  private changes = 0;
  private readonly turns = new Turns(LOOKED_UP_AT_ONCE, LOOKED_UP_NEXT);

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly metrics: Metrics,
  ) {
    metrics.counts(vaultRefusals);
  }

  async caller(repository: string, credentialId: string, secret: string): Promise<VaultCaller | undefined> {
    if (!isUuid(credentialId)) return undefined;
    const hash = hashSecret(secret);
    const key = `${repository} ${credentialId} ${hash.toString('base64')}`;
    const known = this.checked.get(key);
    if (known && known.until > Date.now()) return known.caller;
    const { row, changes } = await this.turns.take(async () => {
      const before = this.changes;
      return { changes: before, row: await this.lookUp(repository, credentialId, hash) };
    });
    const caller = row && { credentialId, repository, role: row.role, bytesPerSecond: row.bytesPerSecond };
    // What was read may have ended since, and the news of it comes once.
    if (changes !== this.changes) return caller;
    if (this.checked.size >= CHECKED_MAX) this.checked.clear();
    const ms = caller ? Math.min(CHECKED_MS, row.seconds === null ? Infinity : row.seconds * 1_000) : REFUSED_MS;
    this.checked.set(key, { caller, until: Date.now() + ms });
    return caller;
  }

  private async lookUp(repository: string, credentialId: string, hash: Buffer) {
    const [row] = await this.work.run((tx) =>
      tx.query<{ role: VaultRole; bytesPerSecond: number | null; seconds: number | null }>(
        `SELECT role, bytes_per_second::float8 AS "bytesPerSecond",
                extract(epoch FROM ends_at - clock_timestamp())::float8 AS seconds
           FROM vault_credential JOIN vault_repository USING (repository_id)
          WHERE credential_id = $1 AND repository_id = $2 AND secret_hash = $3
            AND (ends_at IS NULL OR ends_at > clock_timestamp())`,
        [credentialId, repository, hash],
      ),
    );
    return row;
  }

  /** To be called when credentials have changed: what was checked before is checked again. */
  forgetCallers(): void {
    this.changes += 1;
    this.checked.clear();
  }

  /** @throws VaultCredentialError when the repository has gone since the caller was known. */
  async terms(repository: string): Promise<RepositoryTerms> {
    const [row] = await this.work.run((tx) =>
      tx.query<RepositoryTerms>(
        `SELECT quota_bytes::float8 AS "quotaBytes", minimum_age_seconds AS "minimumAgeSeconds",
                held_because AS "heldBecause",
                CASE WHEN maintained_until > clock_timestamp() THEN maintained_by END AS "maintainedBy"
           FROM vault_repository WHERE repository_id = $1`,
        [repository],
      ),
    );
    if (!row) throw new VaultCredentialError();
    return row;
  }

  /** Whether nothing says that it ever had a recovery point, and nobody holds it. */
  async isUnused(repository: string): Promise<boolean> {
    const unused = await this.work.run((tx) =>
      tx.query(
        `SELECT FROM vault_repository r
          WHERE repository_id = $1 AND held_because IS NULL
            AND NOT EXISTS (SELECT FROM vault_snapshot s WHERE s.repository_id = r.repository_id)
            AND NOT EXISTS (SELECT FROM archive_point p WHERE p.archive_id = r.repository_id)`,
        [repository],
      ),
    );
    return unused.length > 0;
  }

  async lockTaken({ repository, credentialId }: VaultCaller, lockId: string): Promise<void> {
    await this.work.run((tx) =>
      tx.execute(
        `INSERT INTO vault_lock (repository_id, lock_id, credential_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
        [repository, lockId, credentialId],
      ),
    );
  }

  async ownsLock({ repository, credentialId }: VaultCaller, lockId: string): Promise<boolean> {
    const rows = await this.work.run((tx) =>
      tx.query(`SELECT FROM vault_lock WHERE repository_id = $1 AND lock_id = $2 AND credential_id = $3`, [
        repository,
        lockId,
        credentialId,
      ]),
    );
    return rows.length > 0;
  }

  async lockGone(repository: string, lockId: string): Promise<void> {
    await this.work.run((tx) =>
      tx.execute(`DELETE FROM vault_lock WHERE repository_id = $1 AND lock_id = $2`, [repository, lockId]),
    );
  }

  async snapshotReceived({ repository, credentialId }: VaultCaller, snapshotId: string, at: Date): Promise<void> {
    await this.work.run((tx) =>
      tx.execute(
        `INSERT INTO vault_snapshot (repository_id, snapshot_id, received_at, credential_id) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING`,
        [repository, snapshotId, at, credentialId],
      ),
    );
  }

  async refused({ repository, credentialId }: VaultCaller, kind: RefusalKind, what: string): Promise<void> {
    this.metrics.increment(vaultRefusals, { kind });
    await this.work.run((tx) =>
      tx.execute(
        `INSERT INTO vault_refusal (repository_id, credential_id, kind, last_what) VALUES ($1, $2, $3, $4)
         ON CONFLICT (repository_id, credential_id, kind) DO UPDATE
           SET times = vault_refusal.times + 1, last_at = clock_timestamp(), last_what = excluded.last_what`,
        [repository, credentialId, kind, what.slice(0, 500)],
      ),
    );
  }
}
