import { UnitOfWork } from '#libs/platform/database';
import { defineSweep, Handles, type JobHandler } from '#libs/platform/queue';

export const sweepExpiredJob = defineSweep('tenancy.sweep-expired', 600_000);

/** What has served its time: each statement deletes a bounded number, so that none holds locks for long. */
const EXPIRED = [
  // A confirmed sign-up is kept as a record.
  `DELETE FROM sign_up WHERE id IN (SELECT id FROM sign_up WHERE expires_at < now() AND agency_id IS NULL LIMIT 1000)`,
  `DELETE FROM auth.session WHERE id IN (SELECT id FROM auth.session WHERE "expiresAt" < now() LIMIT 1000)`,
  `DELETE FROM auth.verification WHERE id IN (SELECT id FROM auth.verification WHERE "expiresAt" < now() LIMIT 1000)`,
  `DELETE FROM auth.password_reset WHERE expires_at < now()`,
  `DELETE FROM auth.known_source WHERE (user_id, source) IN
     (SELECT user_id, source FROM auth.known_source WHERE seen_at < now() - interval '90 days' LIMIT 1000)`,
  `DELETE FROM auth.used_code WHERE (user_id, code_hash) IN
     (SELECT user_id, code_hash FROM auth.used_code WHERE until < now() LIMIT 1000)`,
  `DELETE FROM auth.refusal WHERE key IN (SELECT key FROM auth.refusal WHERE until < now() LIMIT 1000)`,
  `DELETE FROM idempotency_key WHERE (caller, key_hash) IN
     (SELECT caller, key_hash FROM idempotency_key WHERE expires_at < now() LIMIT 5000)`,
];

/** Deletes expired sign-ups, sessions, challenges, refusals and idempotency keys. */
@Handles(sweepExpiredJob)
export class SweepExpiredHandler implements JobHandler<Record<string, never>> {
  constructor(private readonly work: UnitOfWork) {}

  async handle(): Promise<void> {
    for (const statement of EXPIRED) await this.work.provider((tx) => tx.execute(statement));
  }
}
