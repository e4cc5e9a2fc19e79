import { Inject } from '@nestjs/common';
import { createTransport, type Transporter } from 'nodemailer';
import { UnitOfWork } from '#libs/platform/database';
import { errorText } from '#libs/platform/errors';
import { Handles, type JobHandler, JobQueue } from '#libs/platform/queue';
import { sendMailJob, sweepMailJob } from './mailer.js';

export interface MailOptions {
  /** `smtp://…` or `smtps://…`. */
  readonly smtpUrl: string;
  readonly from: string;
}

export const MAIL_OPTIONS = Symbol('mail options');

interface MailRow {
  readonly id: string;
  readonly recipient: string;
  readonly subject: string;
  readonly body: string;
}

/**
 * Hands a mail to the SMTP server and marks it sent. Killed between the two it is sent twice, with the same Message-ID,
 * by which a mailbox can tell; a mail is never lost.
 */
@Handles(sendMailJob)
export class SendMailHandler implements JobHandler<{ mailId: string }> {
  private readonly transport: Transporter;

  constructor(
    @Inject(MAIL_OPTIONS) private readonly options: MailOptions,
    private readonly work: UnitOfWork,
  ) {
    this.transport = createTransport(options.smtpUrl);
  }

  async handle({ mailId }: { mailId: string }): Promise<void> {
    const failure = await this.work.provider(async (tx) => {
      const [row] = await tx.query<MailRow>(
        `SELECT id, recipient, subject, body FROM mail_message WHERE id = $1 AND sent_at IS NULL FOR UPDATE SKIP LOCKED`,
        [mailId],
      );
      if (!row) return undefined;
      try {
        await this.transport.sendMail({
          from: this.options.from,
          to: row.recipient,
          subject: row.subject,
          text: row.body,
          messageId: `<${row.id}@mainstay>`,
        });
      } catch (error) {
        await tx.execute(`UPDATE mail_message SET attempts = attempts + 1, last_error = $2 WHERE id = $1`, [
          mailId,
          errorText(error).slice(0, 500),
        ]);
        return error;
      }
      await tx.execute(`UPDATE mail_message SET sent_at = now(), attempts = attempts + 1, body = '' WHERE id = $1`, [
        mailId,
      ]);
      return undefined;
    });
    if (failure !== undefined) throw failure;
  }
}

/** Wakes the mails whose wake-up was lost, for three days. */
@Handles(sweepMailJob)
export class SweepMailHandler implements JobHandler<Record<string, never>> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly queue: JobQueue,
  ) {}

  async handle(): Promise<void> {
    const rows = await this.work.provider((tx) =>
      tx.query<{ id: string }>(
        `SELECT id FROM mail_message WHERE sent_at IS NULL
            AND created_at BETWEEN now() - interval '3 days' AND now() - interval '15 seconds' ORDER BY created_at LIMIT 200`,
      ),
    );
    for (const { id } of rows) await this.queue.add(sendMailJob, { mailId: id }, { key: id });
  }
}
