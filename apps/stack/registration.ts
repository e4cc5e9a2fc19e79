import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { childEnvironment } from '#libs/platform/config';
import { entryPoint } from './entry-points.js';
import { type StackEnvironment, SITE_PLACES } from './environment.js';
import { type Installation, InstallationError, SITE_KEYS, type SiteKey } from './installation.js';
import type { StackKeys } from './keys.js';
import { RestClient, RestError } from './rest-client.js';

/** Makes the first administrator of the provider's staff. Its password reaches the program on standard input. */
export async function ensureFirstAdministrator(
  installation: Installation,
  environment: StackEnvironment,
): Promise<void> {
  const { staffEmail, secrets } = installation.record;
  const program = entryPoint('api', 'create-staff.js');
  const child = spawn(
    process.execPath,
    [program, '--email', staffEmail, '--name', 'First administrator', '--role', 'administrator'],
    { env: childEnvironment(environment.api()), stdio: ['pipe', 'ignore', 'pipe'] },
  );
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  child.stdin.end(`${secrets.staffPassword}\n`);
  const [code] = (await once(child, 'exit')) as [number | null];
  // An earlier start may have been killed between this and its mark.
  if (code !== 0 && !said.includes('staff.exists')) {
    throw new InstallationError(`the first administrator could not be made: ${said.trim()}`);
  }
}

/** Signs in as the provider's staff. */
export async function staffClient(installation: Installation): Promise<RestClient> {
  const client = new RestClient(installation.apiUrl);
  const { token } = await client.post<{ token: string }>('/v1/staff/sessions', {
    email: installation.record.staffEmail,
    password: installation.record.secrets.staffPassword,
  });
  return client.with(token);
}

interface SiteView {
  readonly id: string;
  readonly gateway: { readonly port: number };
}

export type AdvertiseGateway = (site: SiteKey, gatewayPort: number) => Promise<number>;

/** Registers the two sites, and tells the control plane when a gateway is reached elsewhere than last time. */
export async function ensureSites(
  installation: Installation,
  keys: StackKeys,
  advertise?: AdvertiseGateway,
): Promise<void> {
  const { record } = installation;
  if (record.complete && !advertise) return;
  const staff = await staffClient(installation);
  for (const key of SITE_KEYS) {
    const { id, orderPort, gatewayPort } = record.sites[key];
    const { orders, gateway, identity } = keys.sites[key];
    const gatewayAddress = {
      host: '127.0.0.1',
      port: (await advertise?.(key, gatewayPort)) ?? gatewayPort,
      certificateFingerprint: gateway.fingerprint,
    };
    const known = await staff.get<SiteView>(`/v1/staff/sites/${id}`).catch((error: unknown) => {
      if (error instanceof RestError && error.status === 404) return undefined;
      throw error;
    });
    if (known) {
      if (known.gateway.port !== gatewayAddress.port)
        await staff.patch(`/v1/staff/sites/${id}`, { gateway: gatewayAddress });
      continue;
    }
    await staff.post('/v1/staff/sites', {
      id,
      ...SITE_PLACES[key],
      region: 'Washington',
      capacity: { cpus: 4, memoryBytes: 8 * 2 ** 30, diskBytes: 100 * 2 ** 30 },
      orderEndpoint: { host: '127.0.0.1', port: orderPort, certificateFingerprint: orders.fingerprint },
      gateway: gatewayAddress,
      publicKey: identity.publicKey,
    });
  }
}
