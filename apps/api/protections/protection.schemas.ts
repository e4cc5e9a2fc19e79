import { z } from 'zod';
import {
  alarm,
  clientNetworks as networks,
  protectionMode,
  seedingProgress,
  standbyState,
} from '#contracts/replication';
import { instant } from '#libs/platform/http';
import { CONDITIONS, DEGRADE_TARGETS, PROTECTION_STATES } from '#libs/replication/control';
import { plainText } from '#libs/tenancy/control';

const bandwidth = z
  .int()
  .min(16_384)
  .nullable()
  .meta({ description: 'Bounds seeding, in bytes a second; null: as fast as the line goes.' });

const mode = protectionMode.meta({
  description:
    'strict: no acknowledged write is ever lost, and an outage of the line stops writes. available: the agency may go on alone.',
});

const clientNetworks = networks.meta({
  description:
    'From where clients may come to the front doors, in CIDR notation, before and after a failover. None (the default): the doors are closed. Everybody is said as such: ["0.0.0.0/0", "::/0"].',
  examples: [['10.20.0.0/16']],
});

export const protectionInput = z
  .strictObject({
    mode,
    metroSiteId: z.uuid().nullable().optional().meta({ description: 'Left out: Mainstay chooses. null: none.' }),
    regionalSiteId: z.uuid().nullable().optional(),
    bandwidthBytesPerSecond: bandwidth.optional(),
    clientNetworks: clientNetworks.optional(),
  })
  .meta({ id: 'ProtectionInput' });
export type ProtectionInput = z.infer<typeof protectionInput>;

export const protectionChange = z
  .strictObject({
    mode: mode.optional(),
    bandwidthBytesPerSecond: bandwidth.optional(),
    paused: z.boolean().optional(),
    rebootUntil: z.iso
      .datetime()
      .transform((text) => new Date(text))
      .nullable()
      .optional()
      .meta({ description: 'A planned reboot of the agency’s server: no alarms until then. null ends it early.' }),
    clientNetworks: clientNetworks.optional(),
  })
  .meta({ id: 'ProtectionChange' });
export type ProtectionChange = z.infer<typeof protectionChange>;

export const degradeRequest = z
  .strictObject({
    to: z.enum(DEGRADE_TARGETS).default('alone').meta({
      description:
        'The first choice is `regional`: the regional site becomes the synchronous one, writes go on slower, and a second loss still loses none of them; it returns to the metro by itself once that has been near for 30 seconds. `alone`: writes go on without any site, and what a second loss costs is unknown.',
    }),
    seconds: z
      .int()
      .min(60)
      .max(86_400)
      .default(3_600)
      .meta({ description: 'For how long at most; with `regional`: for how long the change may still begin.' }),
    reason: plainText(500),
  })
  .meta({ id: 'DegradeRequest' });
export type DegradeRequest = z.infer<typeof degradeRequest>;

export const rearmRequest = z
  .strictObject({ reason: plainText(500).default('re-arm') })
  .default({ reason: 're-arm' })
  .meta({ id: 'RearmRequest' });
export type RearmRequest = z.infer<typeof rearmRequest>;

export const degradeGrant = z
  .object({
    requestId: z.uuid(),
    workloadId: z.uuid(),
    epoch: z.int(),
    to: z.enum(DEGRADE_TARGETS).nullable().meta({ description: 'null: the word that ends a grant.' }),
    seconds: z.int().nullable(),
    grantedAt: instant,
  })
  .meta({ id: 'DegradeGrant' });

const leg = z
  .object({
    siteId: z.uuid(),
    siteName: z.string(),
    role: z.enum(['metro', 'regional']),
    state: z.union([standbyState, z.literal('unknown')]),
    unknownBecause: z.string().nullable(),
    measuredSecondsAgo: z.number().nullable(),
    sourceSeenSecondsAgo: z.number().nullable(),
    bytesBehind: z.number().nullable(),
    secondsBehind: z.number().nullable(),
    armed: z.boolean().nullable().meta({ description: 'Of the synchronous site; null at the other.' }),
    armedSince: z.string().nullable(),
    asynchronousSinceLsn: z.string().nullable(),
    sourceLsn: z.string().nullable(),
    receivedLsn: z.string().nullable(),
    replayedLsn: z.string().nullable(),
    timeline: z.int().nullable(),
    epoch: z.int().nullable(),
    seeding: z.object(seedingProgress.shape).nullable(),
    alarms: z.array(z.object(alarm.shape)),
    frontDoor: z
      .object({
        host: z.string(),
        port: z.int(),
        leadsTo: z.enum(['production', 'standby', 'closed']),
        authority: z.string().nullable().meta({
          description:
            'PEM: the authority that signs the certificate of the standby behind this door, for clients with sslmode=verify-ca or verify-full (sslrootcert, beside your own). The certificate has the name of the door’s host. Of this workload at this site alone; null until the site has made it.',
        }),
      })
      .nullable(),
  })
  .meta({ id: 'ProtectionLeg', description: 'What is not known now is null, and the state unknown: never 0.' });

export const protectionView = z
  .object({
    id: z.uuid(),
    workloadId: z.uuid(),
    agentId: z.uuid(),
    state: z.enum(PROTECTION_STATES),
    condition: z.enum(CONDITIONS).meta({ description: 'How it does now, as measured.' }),
    mode,
    epoch: z.int(),
    activeSiteId: z.uuid().nullable(),
    metroSiteId: z.uuid().nullable(),
    regionalSiteId: z.uuid().nullable(),
    synchronousSite: z.enum(['metro', 'regional']).nullable().meta({
      description: 'Whose acknowledgement every write waits for; null: neither’s, or not known now.',
    }),
    metro: leg.nullable(),
    regional: leg.nullable(),
    bandwidthBytesPerSecond: z.number().nullable(),
    paused: z.boolean(),
    rebootUntil: instant.nullable(),
    clientNetworks: z.array(z.string()),
    warnings: z.array(z.string()),
    preflightId: z.uuid().nullable(),
    createdAt: instant,
  })
  .meta({ id: 'Protection' });

export const protectionEvents = z.object({
  items: z.array(
    z
      .object({
        id: z.uuid(),
        siteId: z.uuid(),
        kind: z.string(),
        payload: z.record(z.string(), z.unknown()),
        at: instant,
      })
      .meta({ id: 'ProtectionEvent' }),
  ),
  nextCursor: z.null(),
});
