import { Inject } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import { createTransport, type Transporter } from 'nodemailer';
import { UnitOfWork } from '#libs/platform/database';
import { errorText } from '#libs/platform/errors';
import { Handles, type JobHandler, JobQueue } from '#libs/platform/queue';
import { sendMailJob, sweepMailJob } from './mailer.js';

export interface MailOptions {
  /** `smtp://…` or `smtps://…`. */
  readonly smtpUrl: string;
  readonly from: string;
  /** How long the SMTP server may be silent; 20 s when left out. */
  readonly silenceMs?: number;
}

export const MAIL_OPTIONS = Symbol('mail options');

interface MailRow {
  readonly id: string;
  readonly recipient: string;
  readonly subject: string;
  readonly body: string;
  readonly attempts: number;
}

/** One try failed, which is in the mail's row: the job says so, too, for the figures and the log. */
export class MailNotSentError extends Error {
  constructor(mailId: string, next: string, cause: unknown) {
    super(`mail ${mailId} was not sent, ${next}: ${errorText(cause)}`, { cause });
    this.name = 'MailNotSentError';
  }
}

const SILENCE_MS = 20_000;
/** A server that answers a byte now and then is given up after this; well within a claim. */
const SENDING_MS = 120_000;
const CLAIM_SECONDS = 300;
/** The first pause after a failure; it doubles up to the longest. */
const PAUSE_SECONDS = 10;
const LONGEST_PAUSE_SECONDS = 1_800;
/** A mail is tried for so long (RFC 5321, 4.5.4.1 wants four or five days of a server; what we tell is stale sooner). */
const TRIED_DAYS = 3;

/**
 * True when the server refuses this mail for good (RFC 5321, 4.2.1): its recipient or its content. A sender that it
 * refuses, or a sign-in, is a setting of ours, and worth another try once that is mended.
 */
function isFinal(error: unknown): boolean {
  if (typeof error !== 'object' || error === null) return false;
  const { responseCode, command } = error as { responseCode?: unknown; command?: unknown };
  return (
    typeof responseCode === 'number' &&
    responseCode >= 500 &&
    responseCode < 600 &&
    (command === 'RCPT TO' || command === 'DATA')
  );
}

/**
 * Hands mails to the SMTP server: a row is claimed, sent outside of any transaction, and marked. Killed between sending
 * and marking it is sent once more when the claim has run out, with the same Message-ID, by which a mailbox can tell; a
 * mail is never lost. The row says when it is tried next, or why it never will be.
 */
@Handles(sendMailJob)
export class SendMailHandler implements JobHandler<{ mailId: string }> {
  private readonly transport: Transporter;

  constructor(
    @Inject(MAIL_OPTIONS) private readonly options: MailOptions,
    private readonly work: UnitOfWork,
    private readonly queue: JobQueue,
  ) {
    const silence = options.silenceMs ?? SILENCE_MS;
    this.transport = createTransport({
      url: options.smtpUrl,
      connectionTimeout: silence,
      greetingTimeout: silence,
      socketTimeout: silence,
    });
  }

  /** @throws MailNotSentError once the failure stands in the row. */
  async handle({ mailId }: { mailId: string }): Promise<void> {
    const claimId = randomUUID();
    const mail = await this.claim(mailId, claimId);
    if (!mail) return;
    try {
      await this.send(mail);
    } catch (error) {
      return this.failed(mail, claimId, error);
    }
    await this.work.provider((tx) =>
      tx.execute(
        `UPDATE mail_message SET sent_at = now(), body = '', claim_id = NULL, claimed_until = NULL WHERE id = $1`,
        [mail.id],
      ),
    );
  }

  private async claim(mailId: string, claimId: string): Promise<MailRow | undefined> {
    const [row] = await this.work.provider((tx) =>
      tx.query<MailRow>(
        `UPDATE mail_message SET claim_id = $2, claimed_until = now() + make_interval(secs => $3), attempts = attempts + 1
          WHERE id = $1 AND sent_at IS NULL AND failed_at IS NULL AND next_attempt_at <= now()
            AND (claimed_until IS NULL OR claimed_until < now())
          RETURNING id, recipient, subject, body, attempts`,
        [mailId, claimId, CLAIM_SECONDS],
      ),
    );
    return row;
  }

  private async send(mail: MailRow): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const tooLong = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error('the SMTP server took too long')), SENDING_MS);
    });
    const sending = this.transport.sendMail({
      from: this.options.from,
      to: mail.recipient,
      subject: mail.subject,
      text: mail.body,
      messageId: `<${mail.id}@mainstay>`,
    });
    try {
      await Promise.race([sending, tooLong]);
    } finally {
      clearTimeout(timer);
      // Given up, it may still fail some time later.
      sending.catch(() => undefined);
    }
  }

  private async failed(mail: MailRow, claimId: string, error: unknown): Promise<never> {
    const pause = Math.min(LONGEST_PAUSE_SECONDS, PAUSE_SECONDS * 2 ** Math.min(20, mail.attempts - 1));
    const reason = errorText(error).slice(0, 500);
    const [row] = await this.work.provider((tx) =>
      tx.query<{ over: boolean }>(
        `UPDATE mail_message SET claim_id = NULL, claimed_until = NULL, last_error = $3,
                next_attempt_at = now() + make_interval(secs => $4),
                failed_at = CASE WHEN $5 OR created_at < now() - make_interval(days => $6) THEN now() END,
                body = CASE WHEN $5 OR created_at < now() - make_interval(days => $6) THEN '' ELSE body END
          WHERE id = $1 AND claim_id = $2 AND sent_at IS NULL RETURNING failed_at IS NOT NULL AS over`,
        [mail.id, claimId, reason, pause, isFinal(error), TRIED_DAYS],
      ),
    );
    const over = row?.over ?? false;
    if (row && !over) this.queue.wake(sendMailJob, { mailId: mail.id }, { delayMs: pause * 1_000 + 100 });
    throw new MailNotSentError(mail.id, over ? 'given up' : `tried again in ${pause} s`, error);
  }
}

/** Mails that one sweep wakes at most: of those never tried, and of those tried before. */
const PORTION = 100;

/**
 * Wakes the mails whose wake-up was lost. What was never tried and what failed before are woken side by side, each
 * oldest first: however much of the one is due, the other is not left waiting behind it.
 */
@Handles(sweepMailJob)
export class SweepMailHandler implements JobHandler<Record<string, never>> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly queue: JobQueue,
  ) {}

  async handle(): Promise<void> {
    const due = `SELECT id FROM mail_message
      WHERE sent_at IS NULL AND failed_at IS NULL AND next_attempt_at < now() - interval '15 seconds'
        AND (claimed_until IS NULL OR claimed_until < now())`;
    const rows = await this.work.provider((tx) =>
      tx.query<{ id: string }>(
        `(${due} AND attempts = 0 ORDER BY next_attempt_at LIMIT ${PORTION})
         UNION ALL (${due} AND attempts > 0 ORDER BY next_attempt_at LIMIT ${PORTION})`,
      ),
    );
    for (const { id } of rows) await this.queue.add(sendMailJob, { mailId: id }, { key: id });
  }
}
