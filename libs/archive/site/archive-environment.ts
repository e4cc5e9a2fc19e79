import path from 'node:path';
import { S3Client } from '@aws-sdk/client-s3';
import { z } from 'zod';
import { port, secretFile } from '#libs/platform/config';
import type { ArchiveSettings } from './archive-settings.js';
import { keyEnvironment, keyFaults, serviceKeyOf } from './keys/key-environment.js';
import { S3Storage } from './vault/s3-storage.js';

/** A site's settings of its vault, by the names of their variables. Without VAULT_PORT it has none, and archives nothing. */
export const archiveEnvironment = z.object({
  VAULT_PORT: port().optional(),
  VAULT_HOST: z.string().min(1).default('127.0.0.1'),
  /** As agents reach it; by host and port when left out. */
  VAULT_URL: z.url({ protocol: /^https$/ }).optional(),
  /** A certificate that agents trust anyway; by an authority of the vault's own, which agents are told, when left out. */
  VAULT_TLS_CERT_FILE: secretFile().optional(),
  VAULT_TLS_KEY_FILE: secretFile().optional(),
  VAULT_STORAGE: z.enum(['local', 's3']).default('local'),
  VAULT_S3_ENDPOINT: z.url().optional(),
  VAULT_S3_REGION: z.string().default('us-east-1'),
  VAULT_S3_BUCKET: z.string().min(3).optional(),
  /** Within the bucket, with a slash at its end. */
  VAULT_S3_PREFIX: z
    .string()
    .regex(/^$|\/$/, 'must end with a slash')
    .default(''),
  VAULT_S3_ACCESS_KEY_FILE: secretFile().optional(),
  VAULT_S3_SECRET_KEY_FILE: secretFile().optional(),
  /** Days that the bucket's Object Lock locks each object for, from its receipt on. */
  VAULT_S3_LOCK_DAYS: z.coerce.number().int().min(1).max(3_660).optional(),
  /** Days for which what was removed from a repository can be brought back. Meanwhile it takes room, and counts. */
  VAULT_KEEP_REMOVED_DAYS: z.coerce.number().int().min(1).max(90).default(7),
  ...keyEnvironment,
  RESTIC_BIN: z.string().startsWith('/').optional(),
});
type Read = z.infer<typeof archiveEnvironment>;

/** For the settings of both together: each half without the other is a fault. */
export function archiveFaults(read: Read, fault: (name: string, message: string) => void): void {
  if ((read.VAULT_TLS_CERT_FILE === undefined) !== (read.VAULT_TLS_KEY_FILE === undefined)) {
    fault('VAULT_TLS_KEY_FILE', 'goes with VAULT_TLS_CERT_FILE');
  }
  keyFaults(read, fault);
  if (read.VAULT_STORAGE !== 's3') return;
  if (read.VAULT_S3_BUCKET === undefined) fault('VAULT_S3_BUCKET', 'is needed for VAULT_STORAGE=s3');
  if ((read.VAULT_S3_ACCESS_KEY_FILE === undefined) !== (read.VAULT_S3_SECRET_KEY_FILE === undefined)) {
    fault('VAULT_S3_SECRET_KEY_FILE', 'goes with VAULT_S3_ACCESS_KEY_FILE');
  }
}

/** @returns null for a site without a vault */
export function archiveSettings(read: Read, siteDirectory: string, databaseUrl: string): ArchiveSettings | null {
  if (read.VAULT_PORT === undefined) return null;
  const { VAULT_TLS_CERT_FILE: certificate, VAULT_TLS_KEY_FILE: key } = read;
  return {
    directory: path.join(siteDirectory, 'archive'),
    databaseUrl,
    vault: {
      host: read.VAULT_HOST,
      port: read.VAULT_PORT,
      url: read.VAULT_URL ?? null,
      tls: certificate !== undefined && key !== undefined ? { certificate, key } : null,
      storage: read.VAULT_STORAGE === 's3' ? bucketOf(read) : null,
      keepRemovedDays: read.VAULT_KEEP_REMOVED_DAYS,
    },
    kekFile: read.SITE_KEK_FILE ?? null,
    oldKekFiles: read.SITE_OLD_KEK_FILES,
    serviceKey: serviceKeyOf(read),
    restic: read.RESTIC_BIN ?? null,
  };
}

/**
 * How long a bucket is waited for, in milliseconds: one that accepts and never answers would keep an upload, and the room that
 * was set aside for it, for ever. `requestTimeout` is over with the answer's head, so it must be enough for a part of 8 MiB
 * over a slow line, and a download may take as long as it takes: of its body only `socketTimeout` counts how long nothing
 * moves. That is longer than the vault lets its own clients be silent, so it cuts no slow reader.
 */
const PATIENCE = {
  connectionTimeout: 5_000,
  requestTimeout: 120_000,
  throwOnRequestTimeout: true,
  socketTimeout: 300_000,
} as const;

/** By the machine's own credentials where none are given. */
function bucketOf(read: Read): S3Storage {
  const { VAULT_S3_ACCESS_KEY_FILE: accessKeyId, VAULT_S3_SECRET_KEY_FILE: secretAccessKey } = read;
  const client = new S3Client({
    region: read.VAULT_S3_REGION,
    requestHandler: PATIENCE,
    ...(read.VAULT_S3_ENDPOINT === undefined ? {} : { endpoint: read.VAULT_S3_ENDPOINT, forcePathStyle: true }),
    ...(accessKeyId !== undefined && secretAccessKey !== undefined
      ? { credentials: { accessKeyId, secretAccessKey } }
      : {}),
  });
  const lockSeconds = read.VAULT_S3_LOCK_DAYS === undefined ? null : read.VAULT_S3_LOCK_DAYS * 86_400;
  return new S3Storage({ client, bucket: read.VAULT_S3_BUCKET ?? '', prefix: read.VAULT_S3_PREFIX, lockSeconds });
}
