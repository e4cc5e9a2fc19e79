import { randomBytes } from 'node:crypto';
import { waitFor } from '#libs/platform/clock';
import { type CaughtMail, readMailbox } from '../mailbox.js';
import { RestClient } from '../rest-client.js';

export interface Town {
  readonly name: string;
  readonly contactName: string;
  readonly email: string;
}

export interface SignedUp {
  readonly agencyId: string;
  readonly password: string;
  /** Calls as the agency's owner. */
  readonly owner: RestClient;
}

/** What the portal's sign-up page does, by REST: sign up, read the mail, confirm with a password, sign in. */
export async function signUp(apiUrl: string, mailbox: string, town: Town): Promise<SignedUp> {
  const client = new RestClient(apiUrl);
  const password = randomBytes(15).toString('base64url');
  await client.post('/v1/sign-ups', {
    agencyName: town.name,
    kind: 'town',
    state: 'WA',
    contactName: town.contactName,
    email: town.email,
  });
  const mail = await waitFor('the confirmation mail', () => confirmationMail(mailbox, town.email), {
    timeoutMs: 30_000,
  });
  await client.post('/v1/sign-ups/confirm', { token: tokenIn(mail), password });
  const { token } = await client.post<{ token: string }>('/v1/sessions', { email: town.email, password });
  const owner = client.with(token);
  const { id } = await owner.get<{ id: string }>('/v1/agency');
  return { agencyId: id, password, owner };
}

async function confirmationMail(mailbox: string, email: string): Promise<CaughtMail | undefined> {
  return (await readMailbox(mailbox, email)).find(({ text }) => text.includes('/v1/sign-ups/confirm'));
}

function tokenIn(mail: CaughtMail): string {
  const token = /#token=(\S+)/.exec(mail.text)?.[1];
  if (token === undefined) throw new Error(`there is no token in the mail ${mail.file}`);
  return token;
}

/** A key with all that an integrator needs to protect, archive, restore, preview and declare. */
export async function createApiKey(owner: RestClient): Promise<RestClient> {
  const { key } = await owner.post<{ key: string }>('/v1/api-keys', {
    name: 'continuity scripts',
    scopes: [
      'agency:read',
      'sites:read',
      'agents:read',
      'agents:write',
      'functions:read',
      'functions:write',
      'workloads:read',
      'workloads:write',
      'protections:read',
      'protections:write',
      'archives:read',
      'archives:write',
      'archives:restore',
      'failovers:read',
      'failovers:preview',
      'failovers:declare',
    ],
    expiresInDays: 30,
  });
  return owner.with(key);
}
