import { z } from 'zod';
import { instant } from '#libs/platform/http';
import { plainText } from '#libs/tenancy/control';
import { location } from '../sites/site.schemas.js';

const DAY_SECONDS = 86_400;

export const enrolmentTokenRequest = z
  .strictObject({
    name: plainText(80).meta({ description: 'What the agent will be called.', examples: ['town-hall-server'] }),
    location: location.nullable().default(null).meta({ description: 'Where the server stands: for the distances.' }),
    validSeconds: z
      .int()
      .min(60)
      .max(30 * DAY_SECONDS)
      .default(DAY_SECONDS),
  })
  .meta({ id: 'EnrolmentTokenRequest' });
export type EnrolmentTokenRequest = z.infer<typeof enrolmentTokenRequest>;

export const enrolmentToken = z
  .object({
    id: z.uuid(),
    name: z.string(),
    state: z.enum(['open', 'used', 'expired', 'revoked']),
    createdAt: instant,
    expiresAt: instant,
    agentId: z.uuid().nullable(),
  })
  .meta({ id: 'EnrolmentToken' });

export const madeEnrolmentToken = enrolmentToken
  .extend({ token: z.string().meta({ description: 'Shown once. Give it to mainstay-agent enroll.' }) })
  .meta({ id: 'MadeEnrolmentToken' });

const agentState = z.enum(['connected', 'silent', 'never', 'unknown', 'revoked']);

export const agentView = z
  .object({
    id: z.uuid(),
    name: z.string(),
    hostname: z.string(),
    version: z.string(),
    enrolledAt: instant,
    revokedAt: instant.nullable(),
    state: agentState.meta({
      description: 'The best of its links. unknown: the sites themselves have been silent for ten seconds.',
    }),
    sites: z.array(
      z.object({
        siteId: z.uuid(),
        siteName: z.string(),
        state: agentState.exclude(['revoked']),
        connectedSince: instant.nullable(),
        seenAt: instant.nullable(),
        roundTripMilliseconds: z.number().nullable(),
        duplicateSeenAt: instant
          .nullable()
          .meta({ description: 'When a second process last showed this identity there and was refused.' }),
      }),
    ),
  })
  .meta({ id: 'Agent' });
