import { randomBytes, randomUUID } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { keyUseResult } from '#contracts/archive';
import { Clock } from '#libs/platform/clock';
import { type SiteTransaction, SiteUnitOfWork } from '#libs/platform/database';
import { DomainError, errorText } from '#libs/platform/errors';
import { SiteOutbox } from '#libs/sites/site';
import { CustomerHeldError } from '../archives.errors.js';
import { derivedId } from '../work-ids.js';
import { KEY_ENCRYPTION, type KeyEncryption, KeyUnavailableError } from './key-encryption.js';

/** Whose a password is: the site's never leaves it, the agent's goes along with each work. */
export type KeyHolder = 'site' | 'agent';

export interface ArchiveKeyRow {
  readonly archiveId: string;
  readonly keyId: string;
  readonly holder: KeyHolder;
  readonly sealed: Buffer;
  readonly sealedBy: string;
  /** restic's own name for it; null until the repository has it. */
  readonly resticKey: string | null;
  readonly retiredAt: Date | null;
}

const COLUMNS = `archive_id AS "archiveId", key_id AS "keyId", holder, sealed, sealed_by AS "sealedBy",
  restic_key AS "resticKey", retired_at AS "retiredAt"`;
/** 256 bits. */
const PASSWORD_BYTES = 32;

const contextOf = (key: Pick<ArchiveKeyRow, 'archiveId' | 'keyId' | 'holder'>): string =>
  `archive/${key.archiveId}/${key.holder}/${key.keyId}`;

/** The passwords of archives with an escrowed key: sealed rows, opened for one use each, and each use told. */
@Injectable()
export class ArchiveKeys {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly outbox: SiteOutbox,
    private readonly clock: Clock,
    @Inject(KEY_ENCRYPTION) private readonly encryption: KeyEncryption,
  ) {}

  /** Those that are not retired, those that the repository does not have yet included, newest first. */
  of(tx: SiteTransaction, archiveId: string): Promise<ArchiveKeyRow[]> {
    return tx.query<ArchiveKeyRow>(
      `SELECT ${COLUMNS} FROM archive_key WHERE archive_id = $1 AND retired_at IS NULL ORDER BY created_at DESC, key_id`,
      [archiveId],
    );
  }

  /**
   * A sealed row with a new password, unless one of this id is there. The repository does not have it yet.
   *
   * @returns whether it is new: then nobody can have tried to add it
   */
  async make(archiveId: string, keyId: string, holder: KeyHolder): Promise<boolean> {
    const plain = Buffer.from(randomBytes(PASSWORD_BYTES).toString('base64url'));
    const sealed = await this.encryption.seal(plain, contextOf({ archiveId, keyId, holder }));
    const made = await this.work.run((tx) =>
      tx.execute(
        `INSERT INTO archive_key (archive_id, key_id, holder, sealed, sealed_by) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT DO NOTHING`,
        [archiveId, keyId, holder, sealed, this.encryption.id],
      ),
    );
    return made === 1;
  }

  /** The repository has it from now on: it is the one that is used. */
  async added(tx: SiteTransaction, key: Pick<ArchiveKeyRow, 'archiveId' | 'keyId'>, resticKey: string): Promise<void> {
    await tx.execute(`UPDATE archive_key SET restic_key = $3 WHERE archive_id = $1 AND key_id = $2`, [
      key.archiveId,
      key.keyId,
      resticKey,
    ]);
  }

  /** The repository has it no more. What was sealed goes too: nobody needs to open it again. */
  async retire(tx: SiteTransaction, key: Pick<ArchiveKeyRow, 'archiveId' | 'keyId'>): Promise<void> {
    await tx.execute(
      `UPDATE archive_key SET retired_at = clock_timestamp(), sealed = '' WHERE archive_id = $1 AND key_id = $2`,
      [key.archiveId, key.keyId],
    );
  }

  /**
   * Writes down that a key was taken from the repository, also one that no row is about: what else keeps a copy of the
   * repository loses it too. Safe to repeat.
   */
  async noteRemoved(tx: SiteTransaction, archiveId: string, resticKey: string): Promise<void> {
    await tx.execute(
      `INSERT INTO archive_key (archive_id, key_id, holder, sealed, sealed_by, restic_key, retired_at)
       SELECT $1, $2, 'agent', '', '', $3, clock_timestamp()
        WHERE NOT EXISTS (SELECT FROM archive_key WHERE archive_id = $1 AND starts_with($3, restic_key))
       ON CONFLICT DO NOTHING`,
      [archiveId, derivedId(archiveId, 'removed', resticKey), resticKey],
    );
  }

  /** By restic's names, of which an older restic tells the first digits alone. */
  async removed(tx: SiteTransaction, archiveId: string): Promise<readonly string[]> {
    const rows = await tx.query<{ key: string }>(
      `SELECT restic_key AS key FROM archive_key
        WHERE archive_id = $1 AND retired_at IS NOT NULL AND restic_key IS NOT NULL`,
      [archiveId],
    );
    return rows.map(({ key }) => key);
  }

  /**
   * Opens the newest password of the holder that the repository has, and tells of it.
   *
   * @param purpose for the agency's record: what it is opened for
   * @throws CustomerHeldError, KeyUnavailableError
   */
  async open(archiveId: string, holder: KeyHolder, purpose: string): Promise<string> {
    return this.openKey(await this.newest(archiveId, holder, purpose), purpose);
  }

  /** The holder's newest key that the repository has. @throws CustomerHeldError, KeyUnavailableError */
  async newest(archiveId: string, holder: KeyHolder, purpose: string): Promise<ArchiveKeyRow> {
    const keys = await this.work.run((tx) => this.of(tx, archiveId));
    const mine = keys.filter((key) => key.holder === holder);
    const key = mine.find(({ resticKey }) => resticKey !== null);
    if (key) return key;
    if (keys.length === 0) throw new CustomerHeldError(purpose);
    throw new KeyUnavailableError(`no ${holder} password of archive ${archiveId} is in its repository yet`);
  }

  /** Opens this one. The use is written before, so that none goes unseen. @throws KeyUnavailableError */
  async openKey(key: ArchiveKeyRow, purpose: string): Promise<string> {
    const useId = randomUUID();
    const at = this.clock.now();
    await this.work.run(async (tx) => {
      const [owner] = await tx.query<{ tenantId: string; workloadId: string }>(
        `INSERT INTO archive_key_use (use_id, archive_id, purpose, at)
         SELECT $2, archive_id, $3, $4 FROM archive WHERE archive_id = $1
         RETURNING (SELECT tenant_id FROM archive WHERE archive_id = $1) AS "tenantId",
                   (SELECT workload_id FROM archive WHERE archive_id = $1) AS "workloadId"`,
        [key.archiveId, useId, purpose, at],
      );
      if (!owner) throw new KeyUnavailableError(`archive ${key.archiveId} is gone`);
      const { tenantId, workloadId } = owner;
      const use = { archiveId: key.archiveId, workloadId, useId, purpose, at: at.toISOString() };
      await this.outbox.emit(tx, keyUseResult, { tenantId }, use);
    });
    return (await this.encryption.open(key.sealed, contextOf(key), key.sealedBy)).toString();
  }

  /**
   * Seals under the present key-encryption key what another one sealed. What cannot be keeps nothing else from it.
   *
   * @returns how many
   * @throws Error once all others are sealed: of which passwords it failed and why, and those keys of before that are not
   * at hand. For our logs only
   */
  async sealAnew(): Promise<number> {
    const old = await this.work.run((tx) =>
      tx.query<ArchiveKeyRow>(
        `SELECT ${COLUMNS} FROM archive_key WHERE sealed_by <> $1 AND retired_at IS NULL ORDER BY archive_id, key_id`,
        [this.encryption.id],
      ),
    );
    const opens = ({ sealedBy }: ArchiveKeyRow): boolean => this.encryption.opens(sealedBy);
    const faults: string[] = [];
    for (const key of old.filter(opens)) {
      try {
        await this.sealOne(key);
      } catch (error) {
        const why = error instanceof DomainError ? (error.detail ?? error.message) : errorText(error);
        faults.push(`${contextOf(key)}: ${why}`);
      }
    }
    const lost = new Set(old.filter((key) => !opens(key)).map(({ sealedBy }) => sealedBy));
    if (lost.size > 0) faults.push(`some were sealed with keys that are not at hand: ${[...lost].join(', ')}`);
    if (faults.length > 0) throw new Error(faults.join('; '));
    return old.length;
  }

  private async sealOne(key: ArchiveKeyRow): Promise<void> {
    const plain = Buffer.from(await this.openKey(key, 'sealing it under a new key-encryption key'));
    const sealed = await this.encryption.seal(plain, contextOf(key));
    await this.work.run((tx) =>
      tx.execute(
        `UPDATE archive_key SET sealed = $3, sealed_by = $4
          WHERE archive_id = $1 AND key_id = $2 AND sealed_by = $5 AND retired_at IS NULL`,
        [key.archiveId, key.keyId, sealed, this.encryption.id, key.sealedBy],
      ),
    );
  }
}
