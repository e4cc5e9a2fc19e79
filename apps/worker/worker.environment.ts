import { z } from 'zod';
import { databaseUrl, secretFile } from '#libs/platform/config';

/** The settings of the worker process. */
export const workerEnvironment = z.object({
  TENANT_DATABASE_URL: databaseUrl(),
  PROVIDER_DATABASE_URL: databaseUrl(),
  QUEUE_URL: z.string().regex(/^(postgres(ql)?|rediss?):\/\//, 'must be a postgres:// or redis:// address'),
  SMTP_URL: z.string().regex(/^smtps?:\/\//, 'must be an smtp:// or smtps:// address'),
  MAIL_FROM: z.string().min(3),
  PUBLIC_URL: z.url(),
  /** Signs orders to sites: Ed25519, PEM. */
  ORDER_SIGNING_KEY_FILE: secretFile(),
  /** The control plane's own certificate towards the sites, and the authority of theirs: PEM. */
  CONTROL_TLS_CERT_FILE: secretFile(),
  CONTROL_TLS_KEY_FILE: secretFile(),
  CONTROL_TLS_CA_FILE: secretFile(),
  LOG_LEVEL: z.string().default('info'),
});
export type WorkerEnvironment = z.infer<typeof workerEnvironment>;
