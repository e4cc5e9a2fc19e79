import 'reflect-metadata';
import { ConfigurationError, loadConfig, observabilityOf, observabilitySettings } from '#libs/platform/config';
import { apiEnvironment } from './api.environment.js';
import { createApi } from './start-api.js';

try {
  const environment = loadConfig(apiEnvironment.extend(observabilitySettings));
  const app = await createApi(environment, {}, observabilityOf(environment));
  await app.listen(environment.API_PORT, environment.API_HOST);
} catch (error) {
  process.stderr.write(`${error instanceof ConfigurationError ? error.message : String((error as Error).stack)}\n`);
  process.exit(1);
}
