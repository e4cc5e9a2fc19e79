import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Observability } from '#libs/platform/config';
import { createHttpApp, type HttpOptions } from '#libs/platform/http';
import type { ApiEnvironment } from './api.environment.js';
import { ApiModule } from './api.module.js';

export const API_TITLE = 'Mainstay';
export const API_VERSION = '1.0.0';

/** Makes the API as the process and the tests run it; not listening yet. */
export function createApi(
  environment: ApiEnvironment,
  limits: Pick<HttpOptions, 'callsPerMinute' | 'limitFactor'> = {},
  observability?: Observability,
): Promise<NestFastifyApplication> {
  return createHttpApp(ApiModule.forProcess(environment, observability), {
    publicUrl: environment.PUBLIC_URL,
    secret: environment.SESSION_SECRET_FILE,
    title: API_TITLE,
    version: API_VERSION,
    ...(environment.TRUSTED_PROXIES ? { trustedProxies: environment.TRUSTED_PROXIES } : {}),
    ...limits,
  });
}
