import { randomBytes, randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { pause } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { DomainError, NotFoundError } from '#libs/platform/errors';
import { hashSecret } from './vault-ledger.service.js';
import type { VaultRole } from './vault-rules.js';

export interface RepositoryWish {
  readonly repositoryId: string;
  readonly tenantId: string;
  readonly quotaBytes: number | null;
  /** What it takes in, and what it gives out, from and to others than its own site; as fast as it goes when null. */
  readonly bytesPerSecond?: number | null;
  /** Nothing is removed before it is so old. */
  readonly minimumAgeSeconds: number;
}

/** User and password of `rest:https://user:password@vault/repository/`. The secret is shown once and kept as a hash. */
export interface IssuedCredential {
  readonly credentialId: string;
  readonly secret: string;
}

/** How long a killed process keeps a repository shut against removals. */
const SHUT_SECONDS = 120;

/** Somebody else maintains the repository, or a client is at work in it. */
export class RepositoryBusyError extends DomainError {
  constructor() {
    super('conflict', 'vault.busy', 'The repository is in use. Try again when the run that holds its lock has ended.');
  }
}

/** A site's repositories, their credentials, holds and maintenance leases. */
@Injectable()
export class VaultRepositories {
  constructor(private readonly work: SiteUnitOfWork) {}

  /** Makes it, or gives it other terms. A minimum age is never shortened for what is there already: it only grows. */
  async ensure({ repositoryId, tenantId, minimumAgeSeconds, ...limits }: RepositoryWish): Promise<void> {
    await this.work.run(async (tx) => {
      const written = await tx.execute(
        `INSERT INTO vault_repository (repository_id, tenant_id, quota_bytes, minimum_age_seconds, bytes_per_second)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (repository_id) DO UPDATE
           SET quota_bytes = excluded.quota_bytes, bytes_per_second = excluded.bytes_per_second,
               minimum_age_seconds = greatest(vault_repository.minimum_age_seconds, excluded.minimum_age_seconds)
           WHERE vault_repository.tenant_id = excluded.tenant_id`,
        [repositoryId, tenantId, limits.quotaBytes, minimumAgeSeconds, limits.bytesPerSecond ?? null],
      );
      if (written === 0) throw new NotFoundError('repository');
    });
  }

  /** @param endsAt null: until it is ended. @throws NotFoundError */
  async issue(repositoryId: string, role: VaultRole, endsAt: Date | null = null): Promise<IssuedCredential> {
    const credentialId = randomUUID();
    const secret = randomBytes(32).toString('base64url');
    await this.work.run(async (tx) => {
      const made = await tx.execute(
        `INSERT INTO vault_credential (credential_id, repository_id, role, secret_hash, ends_at)
         SELECT $1, repository_id, $3, $4, $5 FROM vault_repository WHERE repository_id = $2`,
        [credentialId, repositoryId, role, hashSecret(secret), endsAt],
      );
      if (made === 0) throw new NotFoundError('repository');
    });
    return { credentialId, secret };
  }

  /** It opens until then, unless it has been ended. For credentials that end by themselves when nobody renews them. */
  async prolong(credentialId: string, seconds: number): Promise<void> {
    await this.work.run((tx) =>
      tx.execute(
        `UPDATE vault_credential SET ends_at = clock_timestamp() + make_interval(secs => $2)
          WHERE credential_id = $1 AND ends_at > clock_timestamp()`,
        [credentialId, seconds],
      ),
    );
  }

  /** From its commit on the credential opens nothing; the vault hears of it at once. Safe to repeat. */
  async end(credentialId: string): Promise<void> {
    await this.work.run((tx) =>
      tx.execute(
        `UPDATE vault_credential SET ends_at = clock_timestamp()
          WHERE credential_id = $1 AND (ends_at IS NULL OR ends_at > clock_timestamp())`,
        [credentialId],
      ),
    );
  }

  /** Nothing is removed until the hold is lifted (null). @throws NotFoundError */
  async hold(repositoryId: string, because: string | null): Promise<void> {
    const known = await this.work.run((tx) =>
      tx.execute(`UPDATE vault_repository SET held_because = $2 WHERE repository_id = $1`, [repositoryId, because]),
    );
    if (known === 0) throw new NotFoundError('repository');
  }

  /**
   * Lets one `maintain` credential remove for so long, and renews its lease. While it runs nobody else takes a lock.
   *
   * @throws RepositoryBusyError when another holds the lease, NotFoundError when the credential is none of it
   */
  async maintain(repositoryId: string, credentialId: string, seconds: number): Promise<void> {
    await this.work.run(async (tx) => {
      const [credential] = await tx.query(
        `SELECT FROM vault_credential WHERE credential_id = $1 AND repository_id = $2 AND role = 'maintain'
            AND (ends_at IS NULL OR ends_at > clock_timestamp())`,
        [credentialId, repositoryId],
      );
      if (!credential) throw new NotFoundError('credential');
      const leased = await tx.execute(
        `UPDATE vault_repository SET maintained_by = $2, maintained_until = clock_timestamp() + make_interval(secs => $3)
          WHERE repository_id = $1
            AND (maintained_by = $2 OR maintained_until IS NULL OR maintained_until <= clock_timestamp())`,
        [repositoryId, credentialId, seconds],
      );
      if (leased === 0) throw new RepositoryBusyError();
    });
  }

  /**
   * Runs `work` while nobody may remove: whoever may now is shut out at once, and nobody else can begin. Until its end no
   * client takes a lock either.
   *
   * @param lost what is thrown when it could not be kept up: some of `work` may have been undone
   *
   * @throws NotFoundError
   */
  async withoutRemovals<T>(repositoryId: string, work: () => Promise<T>, lost: () => Error): Promise<T> {
    const ends = new Date(Date.now() + SHUT_SECONDS * 1_000);
    const { credentialId } = await this.issue(repositoryId, 'maintain', ends);
    const over = new AbortController();
    let renewing: Promise<boolean> | undefined;
    try {
      await this.work.run(async (tx) => {
        await tx.execute(
          `UPDATE vault_credential SET ends_at = clock_timestamp()
            WHERE repository_id = $1 AND credential_id <> $2 AND role = 'maintain'
              AND (ends_at IS NULL OR ends_at > clock_timestamp())`,
          [repositoryId, credentialId],
        );
        await tx.execute(
          `UPDATE vault_repository SET maintained_by = $2, maintained_until = clock_timestamp() + make_interval(secs => $3)
            WHERE repository_id = $1`,
          [repositoryId, credentialId, SHUT_SECONDS],
        );
      });
      renewing = this.keepShut(repositoryId, credentialId, over.signal);
      const done = await work();
      over.abort();
      if (!(await renewing)) throw lost();
      return done;
    } finally {
      over.abort();
      await renewing;
      await this.endMaintenance(repositoryId, credentialId);
      await this.end(credentialId);
    }
  }

  /** @returns whether it was so all the time. */
  private async keepShut(repositoryId: string, credentialId: string, over: AbortSignal): Promise<boolean> {
    for (let kept = true; ;) {
      await pause((SHUT_SECONDS * 1_000) / 4, over);
      if (over.aborted) return kept;
      try {
        await this.prolong(credentialId, SHUT_SECONDS);
        await this.maintain(repositoryId, credentialId, SHUT_SECONDS);
      } catch {
        kept = false;
      }
    }
  }

  /** Safe to repeat. */
  async endMaintenance(repositoryId: string, credentialId: string): Promise<void> {
    await this.work.run((tx) =>
      tx.execute(
        `UPDATE vault_repository SET maintained_by = NULL, maintained_until = NULL
          WHERE repository_id = $1 AND maintained_by = $2`,
        [repositoryId, credentialId],
      ),
    );
  }
}
