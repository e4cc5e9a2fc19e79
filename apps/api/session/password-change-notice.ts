import { Injectable } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import { noticeRaised } from '#libs/notifications/control';
import type { ProviderTransaction } from '#libs/platform/database';
import { Mailer } from '#libs/platform/mail';
import { Outbox } from '#libs/platform/outbox';
import { type HandedOut, HandedOutByMembers } from '#libs/tenancy/control';

/** Lines of a list that a notice shows; the rest is counted. */
const SHOWN = 15;

function list(what: string, lines: readonly string[]): string {
  if (lines.length === 0) return `${what}: none.`;
  const more = lines.length > SHOWN ? [`  and ${lines.length - SHOWN} more`] : [];
  return [`${what}:`, ...lines.slice(0, SHOWN).map((line) => `  ${line}`), ...more].join('\n');
}

const whatStays = ({ invitations, apiKeys }: HandedOut): string =>
  [
    list(
      'Open invitations that this person made',
      invitations.map(({ email, role }) => `${email} as ${role}`),
    ),
    list(
      'API keys in force that this person made',
      apiKeys.map(({ name, id, scopes }) => {
        const declares = scopes.includes('failovers:declare') ? ', may declare a failover' : '';
        return `${name} (${id}${declares})`;
      }),
    ),
  ].join('\n\n');

/**
 * Tells what a new password does not undo: whoever knew the old one may have handed things out. The agency's people
 * are told at each agency, and the person by mail.
 */
@Injectable()
export class PasswordChangeNotice {
  constructor(
    private readonly handedOut: HandedOutByMembers,
    private readonly outbox: Outbox,
    private readonly mailer: Mailer,
  ) {}

  async tell(tx: ProviderTransaction, person: { userId: string; email: string }): Promise<void> {
    const everywhere = await this.handedOut.of(tx, person.userId);
    for (const one of everywhere) {
      await this.outbox.publish(tx, noticeRaised, one.tenantId, {
        kind: 'member.password-reset',
        severity: 'warning',
        title: 'A member has chosen a new password by mail',
        text: `${one.memberName} has chosen a new password with a mailed token. All sessions of this person are ended.

What was handed out before stays in force. If somebody else may have known the old password, withdraw it:

${whatStays(one)}`.slice(0, 4_000),
        subjectIds: { memberId: one.memberId },
        dedupeKey: `password-reset/${randomUUID()}`,
      });
    }
    await this.mailer.write(tx, {
      to: person.email,
      subject: 'Your password was changed',
      text: `Your password at Mainstay was changed with a token that was mailed to this address. All your sessions are ended.

If it was not you, somebody reads your mail: tell the owner of your agency, or the provider.

${everywhere.map(whatStays).join('\n\n')}

-- 
Mainstay, continuity of operations for local government
`,
    });
  }
}
