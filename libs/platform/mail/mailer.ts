import { Injectable } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { TenantTransaction, type Transaction } from '#libs/platform/database';
import { defineJob, defineSweep, JobQueue } from '#libs/platform/queue';

export interface Mail {
  readonly to: string;
  readonly subject: string;
  readonly text: string;
}

export const sendMailJob = defineJob({
  name: 'mail.send',
  queue: 'mail',
  payload: z.strictObject({ mailId: z.uuid() }),
  // The row says when it is tried next, not the queue.
  retry: { attempts: 1, backoffMs: 1_000 },
});

export const sweepMailJob = defineSweep('mail.sweep', 30_000);

/**
 * Writes mails as rows, in the transaction of what they tell of: a sign-up that is rolled back sends nothing. The
 * text may hold a one-time link; it is emptied once the mail is sent, and never logged.
 */
@Injectable()
export class Mailer {
  constructor(private readonly queue: JobQueue) {}

  async write(tx: Transaction, mail: Mail): Promise<void> {
    const id = randomUUID();
    await tx.execute(`INSERT INTO mail_message (id, tenant_id, recipient, subject, body) VALUES ($1, $2, $3, $4, $5)`, [
      id,
      // An agency's transaction writes in that agency's name: the policy holds it to that.
      tx instanceof TenantTransaction ? tx.tenantId : null,
      mail.to,
      mail.subject,
      mail.text,
    ]);
    tx.afterCommit(() => this.queue.wake(sendMailJob, { mailId: id }));
  }
}
