import type { Mail } from '#libs/platform/mail';

const SIGNATURE = '\n-- \nMainstay, continuity of operations for local government\n';

/** What the person who confirms should know of the sign-up: somebody else may have filled it in. */
export interface SignUpOfMail {
  readonly name: string;
  readonly kind: string;
  readonly state: string;
  readonly contact: string;
}

/** What people typed stands in quotation marks, and never in a subject: a mail of ours says nothing in our name for them. */
const quoted = (text: string): string => `"${text.replaceAll('"', '')}"`;

/** The mail that proves an address at sign-up. The token is a fragment: no server's log sees it. */
export const confirmationMail = (to: string, signUp: SignUpOfMail, token: string, publicUrl: string): Mail => ({
  to,
  subject: 'Confirm the sign-up of your agency',
  text: `Somebody signed an agency up for Mainstay with this e-mail address:

  agency   ${quoted(signUp.name)}, a ${signUp.kind} in ${signUp.state}
  contact  ${quoted(signUp.contact)}

If it was you and this is right, open this page within 24 hours, choose your password and press Confirm:

  ${publicUrl}/confirm#token=${token}

Or send the token (what stands after "token=") and a password with the API: POST ${publicUrl}/v1/sign-ups/confirm

If it was not you, do nothing: without the token there is no account.
${SIGNATURE}`,
});

export const knownAddressMail = (to: string, agency: string, publicUrl: string): Mail => ({
  to,
  subject: 'You have an account at Mainstay already',
  text: `Somebody tried to sign ${quoted(agency)} up for Mainstay with this e-mail address, which has an account already.

If it was you, sign in with your password: POST ${publicUrl}/v1/sessions. If it was not you, do nothing: nothing was changed.
${SIGNATURE}`,
});

export const invitationMail = (
  to: string,
  agency: string,
  inviter: string,
  token: string,
  publicUrl: string,
): Mail => ({
  to,
  subject: 'You are invited to work for an agency at Mainstay',
  text: `${quoted(inviter)} invites you to work for the agency ${quoted(agency)} at Mainstay.

Accept within 7 days: open this page and choose a name and a password.

  ${publicUrl}/accept#token=${token}

Or send the token (what stands after "token=") with the API: POST ${publicUrl}/v1/invitations/accept

If you do not know them, do nothing.
${SIGNATURE}`,
});
