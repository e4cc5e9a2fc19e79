import { z } from 'zod';
import { instant } from '#libs/platform/http';
import { plainText } from '#libs/tenancy/control';

export const location = z
  .strictObject({ latitude: z.number().min(-90).max(90), longitude: z.number().min(-180).max(180) })
  .meta({ id: 'Location', description: 'Degrees.' });

const fingerprint = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in lower-case hexadecimal')
  .meta({ description: 'SHA-256 of the certificate.' });

const endpoint = z.strictObject({
  host: z.string().regex(/^[A-Za-z0-9.:-]{1,253}$/, 'must be a host name or an address'),
  port: z.int().min(1).max(65_535),
  certificateFingerprint: fingerprint,
});

const capacity = z.strictObject({
  cpus: z.number().positive(),
  memoryBytes: z.number().positive(),
  diskBytes: z.number().positive(),
});

const hazardZone = z.string().regex(/^[a-z0-9-]{1,60}$/, 'must be lower-case letters, digits and hyphens');

const siteInput = z.strictObject({
  name: plainText(80),
  region: plainText(80),
  latitude: z.number().min(-90).max(90),
  longitude: z.number().min(-180).max(180),
  hazardZones: z
    .array(hazardZone)
    .max(50)
    .meta({ description: 'Hazards that strike the whole zone at once, such as one flood plain.' }),
  capacity,
  orderEndpoint: endpoint.meta({ description: 'Where the site takes orders over mutual TLS.' }),
  gateway: endpoint.meta({ description: 'Where agents and other sites dial to.' }),
  publicKey: z
    .string()
    .max(400)
    .regex(/^-----BEGIN PUBLIC KEY-----/, 'must be an Ed25519 key as SPKI in PEM'),
});

export const siteRegistration = siteInput
  .extend({ id: z.uuid().optional().meta({ description: 'The id that the site was set up with.' }) })
  .meta({ id: 'SiteRegistration' });
export type SiteRegistration = z.infer<typeof siteRegistration>;

export const siteChange = siteInput.partial().meta({ id: 'SiteChange' });
export type SiteChange = z.infer<typeof siteChange>;

/** A site as staff see it. */
export const staffSite = z
  .object({
    ...siteInput.shape,
    id: z.uuid(),
    createdAt: instant,
    retiredAt: instant.nullable(),
    state: z.enum(['connected', 'silent', 'never']),
    seenAt: instant.nullable(),
    measured: z.unknown().meta({ description: 'Capacity as the site itself measured it last.' }),
    pendingOrders: z.int(),
    unappliedResults: z.int(),
    lastError: z.string().nullable(),
  })
  .meta({ id: 'StaffSite' });

/** A site as an agency sees it. */
export const eligibleSite = z
  .object({
    id: z.uuid(),
    name: z.string(),
    region: z.string(),
    distanceMiles: z.number().nullable(),
    roundTripMilliseconds: z.number().nullable(),
    eligibleAs: z.array(z.enum(['metro', 'regional'])),
    reasons: z.array(z.string()),
  })
  .meta({ id: 'EligibleSite' });

export const eligibleSites = z
  .object({
    items: z.array(eligibleSite),
    nextCursor: z.null(),
    warnings: z.array(z.string()).meta({ description: 'About the pair that Mainstay would choose.' }),
  })
  .meta({ id: 'EligibleSites' });

export const eligibleQuery = z.strictObject({
  workloadId: z.uuid().optional().meta({ description: 'For this workload’s place and its agent’s round trips.' }),
  agentId: z.uuid().optional(),
});
export type EligibleQuery = z.infer<typeof eligibleQuery>;
