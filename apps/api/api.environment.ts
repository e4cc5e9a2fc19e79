import { z } from 'zod';
import { databaseUrl, port, secretFile } from '#libs/platform/config';

/** The settings of everything that knows agencies and people: the API, and the programs beside it. */
export const coreEnvironment = z.object({
  PUBLIC_URL: z.url().transform((url) => url.replace(/\/$/, '')),
  /** Stands in API keys: lower-case letters, digits and hyphens. */
  ENVIRONMENT_NAME: z.string().regex(/^[a-z0-9-]{1,20}$/),
  TENANT_DATABASE_URL: databaseUrl(),
  PROVIDER_DATABASE_URL: databaseUrl(),
  QUEUE_URL: z.string().regex(/^(postgres(ql)?|rediss?):\/\//, 'must be a postgres:// or redis:// address'),
  SESSION_SECRET_FILE: secretFile().refine((secret) => secret.length >= 32, 'must hold at least 32 characters'),
  LOG_LEVEL: z.string().default('info'),
});
export type CoreEnvironment = z.infer<typeof coreEnvironment>;

/** The settings of the API process. */
export const apiEnvironment = coreEnvironment.extend({
  API_HOST: z.string().default('127.0.0.1'),
  API_PORT: port(),
  /** Signs orders to sites: Ed25519, PEM. */
  ORDER_SIGNING_KEY_FILE: secretFile(),
  /** The control plane's own certificate towards the sites, and the authority of theirs: PEM. */
  CONTROL_TLS_CERT_FILE: secretFile(),
  CONTROL_TLS_KEY_FILE: secretFile(),
  CONTROL_TLS_CA_FILE: secretFile(),
  /** Proxies whose X-Forwarded-For is believed, separated by commas. */
  TRUSTED_PROXIES: z
    .string()
    .optional()
    .transform((list) => list?.split(',').map((address) => address.trim())),
});
export type ApiEnvironment = z.infer<typeof apiEnvironment>;
