import { Injectable } from '@nestjs/common';
import type { SiteTransaction } from '#libs/platform/database';

export interface Credential {
  readonly user: string;
  readonly password: string;
}

/** What the walreceivers of this site sign in with, at the agency and at the other site's copies of it. */
@Injectable()
export class Credentials {
  async of(tx: SiteTransaction, workloadId: string): Promise<Credential | undefined> {
    const [row] = await tx.query<Credential>(
      'SELECT user_name AS "user", password FROM replication_credential WHERE workload_id = $1',
      [workloadId],
    );
    return row;
  }

  async keep(tx: SiteTransaction, workloadId: string, credential: Credential): Promise<void> {
    await tx.execute(
      `INSERT INTO replication_credential (workload_id, user_name, password) VALUES ($1, $2, $3)
       ON CONFLICT (workload_id) DO UPDATE SET user_name = excluded.user_name, password = excluded.password`,
      [workloadId, credential.user, credential.password],
    );
  }
}
