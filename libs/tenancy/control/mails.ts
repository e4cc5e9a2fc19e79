import type { Mail } from '#libs/platform/mail';

const SIGNATURE = '\n-- \nMainstay, continuity of operations for local government\n';

/** The mail that proves an address at sign-up. The token is a fragment: no server's log sees it. */
export const confirmationMail = (to: string, agency: string, token: string, publicUrl: string): Mail => ({
  to,
  subject: 'Confirm the sign-up of your agency',
  text: `Somebody signed up ${agency} for Mainstay with this e-mail address.

If it was you, open this page and press Confirm, within 24 hours:

  ${publicUrl}/confirm#token=${token}

Or send the token (what stands after "token=") with the API: POST ${publicUrl}/v1/sign-ups/confirm

If it was not you, do nothing: without the token there is no account.
${SIGNATURE}`,
});

export const knownAddressMail = (to: string, agency: string, publicUrl: string): Mail => ({
  to,
  subject: 'You have an account at Mainstay already',
  text: `Somebody tried to sign up ${agency} for Mainstay with this e-mail address, which has an account already.

If it was you, sign in at ${publicUrl} with your password. If it was not you, do nothing: nothing was changed.
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
  subject: `Join ${agency} at Mainstay`,
  text: `${inviter} invites you to work for ${agency} at Mainstay.

Accept within 7 days: open this page and choose a name and a password.

  ${publicUrl}/accept#token=${token}

Or send the token (what stands after "token=") with the API: POST ${publicUrl}/v1/invitations/accept

If you do not know them, do nothing.
${SIGNATURE}`,
});
