import { z } from 'zod';
import { email, role, scope } from '#libs/tenancy/control';

/** What signing in wants, for members and for staff. */
export const credentials = {
  email,
  password: z.string().min(1).max(200),
  code: z
    .string()
    .max(20)
    .optional()
    .meta({ description: 'The code of the authenticator app, or a backup code, where a second factor is set up.' }),
};

export const sessionRequest = z.strictObject({
  ...credentials,
  agencyId: z.uuid().optional().meta({ description: 'For people who work for several agencies.' }),
  transport: z.enum(['bearer', 'cookie']).default('bearer').meta({
    description: 'cookie: for browsers; the token is then set as a cookie that scripts cannot read, and not shown.',
  }),
});
export type SessionRequest = z.infer<typeof sessionRequest>;

export const callerView = z
  .object({
    agencyId: z.uuid(),
    kind: z.enum(['member', 'api-key']),
    id: z.uuid(),
    name: z.string(),
    role: role.nullable(),
    mayDeclare: z.boolean(),
    scopes: z.array(scope),
  })
  .meta({ id: 'Caller' });

export const sessionView = z
  .object({
    token: z
      .string()
      .nullable()
      .meta({ description: 'Send it as Authorization: Bearer. Null when it was set as a cookie.' }),
    expiresAt: z.iso.datetime(),
    caller: callerView,
  })
  .meta({ id: 'Session' });

/** A session whose token was renewed by a change of the second factor. */
export const renewedSession = z
  .object({ token: z.string().nullable(), expiresAt: z.iso.datetime() })
  .meta({ id: 'RenewedSession' });
