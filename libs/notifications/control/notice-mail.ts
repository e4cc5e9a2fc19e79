import type { ProviderTransaction } from '#libs/platform/database';
import { Mailer } from '#libs/platform/mail';
import { type DeliveredEvent, type EventSubscriber, Subscribes } from '#libs/platform/outbox';
import { Contacts } from '#libs/tenancy/control';
import { type Notice, noticeRaised } from './notice.js';
import { Notices } from './notices.js';

const MARK: Readonly<Record<Notice['severity'], string>> = { information: '', warning: 'Warning: ', alarm: 'ALARM: ' };

/** Tells an agency's people by mail. The notice and its mails are rows of one transaction with the event's mark. */
@Subscribes(noticeRaised)
export class MailNotices implements EventSubscriber<Notice> {
  constructor(
    private readonly notices: Notices,
    private readonly contacts: Contacts,
    private readonly mailer: Mailer,
  ) {}

  async receive(tx: ProviderTransaction, event: DeliveredEvent<Notice>): Promise<void> {
    if (event.tenantId === null) return;
    const contacts = await this.contacts.of(tx, event.tenantId);
    if (!contacts || !(await this.notices.keep(tx, event.id, event.tenantId, event.payload))) return;
    const { severity, title, text, kind, subjectIds } = event.payload;
    const about = Object.entries(subjectIds).map(([name, id]) => `  ${name}: ${id}`);
    const body = [
      text,
      '',
      `Agency: ${contacts.agencyName}`,
      `When: ${event.at.toISOString()} (${kind})`,
      ...(about.length > 0 ? ['About:', ...about] : []),
      '',
      '-- ',
      'Mainstay, continuity of operations for local government',
    ].join('\n');
    for (const to of contacts.addresses) {
      await this.mailer.write(tx, { to, subject: `${MARK[severity]}${title}`, text: body });
    }
  }
}
