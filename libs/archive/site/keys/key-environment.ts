import { KMSClient } from '@aws-sdk/client-kms';
import { z } from 'zod';
import type { ServiceKey } from './key-ring.js';

const files = z
  .string()
  .transform((text) => text.split(',').map((each) => each.trim()))
  .pipe(z.array(z.string().startsWith('/')))
  .default([]);

/** With what a site seals passwords, by the names of the variables. */
export const keyEnvironment = {
  /** 32 bytes; made at the first start when left out, unless a key service has the key. */
  SITE_KEK_FILE: z.string().startsWith('/').optional(),
  /** Keys of before, with commas between: what they sealed is sealed anew at the start. */
  SITE_OLD_KEK_FILES: files,
  /** A key of a service that speaks AWS KMS's protocol, by its id or ARN. With it, the files only open. */
  SITE_KMS_KEY: z
    .string()
    .regex(
      /^(arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:key\/)?[A-Za-z0-9-]+$/,
      'must be the id or ARN of a key; an alias may lead to another key tomorrow',
    )
    .optional(),
  /** The ARN's region, or us-east-1, when left out. */
  SITE_KMS_REGION: z.string().min(1).optional(),
  /** Of a service that is not AWS's own. */
  SITE_KMS_ENDPOINT: z.url().optional(),
  /** `file` leaves the service: its key still opens, and what it sealed is sealed anew at the start. */
  SITE_SEAL_WITH: z.enum(['kms', 'file']).optional(),
} as const;
type Read = z.infer<z.ZodObject<typeof keyEnvironment>>;

/** For the settings of all together. */
export function keyFaults(read: Read, fault: (name: string, message: string) => void): void {
  if (read.SITE_KMS_KEY !== undefined) return;
  for (const name of ['SITE_KMS_REGION', 'SITE_KMS_ENDPOINT'] as const) {
    if (read[name] !== undefined) fault(name, 'goes with SITE_KMS_KEY');
  }
  if (read.SITE_SEAL_WITH === 'kms') fault('SITE_KMS_KEY', 'is needed for SITE_SEAL_WITH=kms');
}

/** By the machine's own credentials. A service that does not answer is no reason to wait for long: works try again. */
export function serviceKeyOf(read: Read): ServiceKey | null {
  const { SITE_KMS_KEY: key, SITE_KMS_ENDPOINT: endpoint } = read;
  if (key === undefined) return null;
  const client = new KMSClient({
    region: read.SITE_KMS_REGION ?? key.split(':')[3] ?? 'us-east-1',
    ...(endpoint === undefined ? {} : { endpoint }),
    requestHandler: { connectionTimeout: 5_000, requestTimeout: 15_000, throwOnRequestTimeout: true },
  });
  return { client, key, seals: read.SITE_SEAL_WITH !== 'file' };
}
