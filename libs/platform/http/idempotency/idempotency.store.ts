import { Injectable } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import { TenantTransaction, type Transaction, UnitOfWork } from '#libs/platform/database';
import {
  IdempotencyKeyReusedError,
  type IdempotencySeal,
  RequestInFlightError,
  type StoredAnswer,
} from './idempotency.js';
import type { Principal } from '../access/principal.js';

/**
 * A claim that nobody renews is free again after this long: its process was killed, and whoever declares a failover
 * must not wait for it. Two that hold one claim in turn cannot both commit: see {@link IdempotencyStore.finish}.
 */
const CLAIM_SECONDS = 5;
export const RENEW_CLAIM_MS = 1_500;
/** For so long a repetition gets the stored answer. */
const KEEP_HOURS = 24;

/** One request with its key: who asks, under which key, for what. */
export interface KeyedRequest {
  readonly caller: string;
  readonly principal: Principal | undefined;
  readonly seal: IdempotencySeal;
  readonly requestHash: Buffer;
}

export type Claim = { readonly id: string } | { readonly answer: StoredAnswer };

interface KeyRow {
  readonly request_hash: Buffer;
  readonly answer: Buffer | null;
}

/** The rows of `idempotency_key`: claimed before the work, finished in the transaction of the change. */
@Injectable()
export class IdempotencyStore {
  constructor(private readonly work: UnitOfWork) {}

  /**
   * Claims the key for this request, or finds the answer that was stored under it.
   *
   * @throws RequestInFlightError, IdempotencyKeyReusedError
   */
  async claim(request: KeyedRequest): Promise<Claim> {
    const id = randomUUID();
    const found = await this.transaction(request.principal, async (tx) => {
      const claimed = await tx.query<{ claim_id: string }>(
        `INSERT INTO idempotency_key AS k (caller, key_hash, tenant_id, request_hash, claim_id, claimed_until, expires_at)
         VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6), now() + make_interval(hours => $7))
         ON CONFLICT (caller, key_hash) DO UPDATE
           SET request_hash = excluded.request_hash, claim_id = excluded.claim_id, answer = NULL,
               claimed_until = excluded.claimed_until, expires_at = excluded.expires_at
           WHERE (k.answer IS NULL AND k.claimed_until < now()) OR k.expires_at < now()
         RETURNING claim_id`,
        [
          request.caller,
          request.seal.keyHash,
          request.principal?.tenantId ?? null,
          request.requestHash,
          id,
          CLAIM_SECONDS,
          KEEP_HOURS,
        ],
      );
      if (claimed.length > 0) return undefined;
      const [row] = await tx.query<KeyRow>(
        `SELECT request_hash, answer FROM idempotency_key WHERE caller = $1 AND key_hash = $2`,
        [request.caller, request.seal.keyHash],
      );
      // Gone in between: whoever held it failed and let go. The client's next try claims it.
      if (!row) throw new RequestInFlightError();
      return row;
    });
    if (!found) return { id };
    if (!found.request_hash.equals(request.requestHash)) throw new IdempotencyKeyReusedError();
    if (found.answer === null) throw new RequestInFlightError();
    return { answer: request.seal.open(found.answer) };
  }

  /** Keeps a claim while its request is being carried out. */
  async renew(request: KeyedRequest, claimId: string): Promise<void> {
    await this.transaction(request.principal, (tx) =>
      tx.execute(
        `UPDATE idempotency_key SET claimed_until = now() + make_interval(secs => $4)
          WHERE caller = $1 AND key_hash = $2 AND claim_id = $3 AND answer IS NULL`,
        [request.caller, request.seal.keyHash, claimId, CLAIM_SECONDS],
      ),
    );
  }

  /**
   * Stores the answer in the change's own transaction.
   *
   * @throws RequestInFlightError when the claim had expired and another request took it: this one must roll back.
   */
  async finish(tx: Transaction, request: KeyedRequest, claimId: string, answer: StoredAnswer): Promise<void> {
    const rows = await tx.execute(
      `UPDATE idempotency_key SET answer = $4 WHERE caller = $1 AND key_hash = $2 AND claim_id = $3`,
      [request.caller, request.seal.keyHash, claimId, request.seal.seal(answer)],
    );
    if (rows !== 1) throw new RequestInFlightError();
  }

  /** Stores an answer whose change is already committed. A claim that is no longer ours stays as it is. */
  async finishAfterwards(request: KeyedRequest, claimId: string, answer: StoredAnswer): Promise<void> {
    await this.transaction(request.principal, (tx) =>
      tx.execute(`UPDATE idempotency_key SET answer = $4 WHERE caller = $1 AND key_hash = $2 AND claim_id = $3`, [
        request.caller,
        request.seal.keyHash,
        claimId,
        request.seal.seal(answer),
      ]),
    );
  }

  /** Lets go of a claim whose request failed: nothing was changed, so the same key may try again. */
  async release(request: KeyedRequest, claimId: string): Promise<void> {
    await this.transaction(request.principal, (tx) =>
      tx.execute(
        `DELETE FROM idempotency_key WHERE caller = $1 AND key_hash = $2 AND claim_id = $3 AND answer IS NULL`,
        [request.caller, request.seal.keyHash, claimId],
      ),
    );
  }

  /** Whether `tx` runs under a role that sees this request's row. */
  reaches(tx: Transaction, principal: Principal | undefined): boolean {
    return !(tx instanceof TenantTransaction) || tx.tenantId === principal?.tenantId;
  }

  private transaction<T>(principal: Principal | undefined, work: (tx: Transaction) => Promise<T>): Promise<T> {
    return principal?.tenantId ? this.work.tenant(principal.tenantId, work) : this.work.provider(work);
  }
}
