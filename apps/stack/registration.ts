import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { childEnvironment } from '#libs/platform/config';
import { authenticatorCode } from './authenticator.js';
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

interface StaffSession {
  readonly token: string;
  readonly caller: { readonly secondFactor: boolean };
}

/**
 * Signs in as the provider's first administrator, like anybody with a password and an authenticator app. The first
 * time, the app is set up. Both factors then lie in the installation's `secrets` folder, mode 0700: one machine is its
 * own administrator, and who reads that folder holds everything anyway. The product itself has no way around the second
 * factor.
 */
export async function staffClient(installation: Installation): Promise<RestClient> {
  const client = new RestClient(installation.apiUrl);
  const session = await signIn(client, installation);
  if (session.caller.secondFactor) return client.with(session.token);
  const at = '/v1/staff/sessions/current/two-factor';
  const password = installation.record.secrets.staffPassword;
  const { uri } = await client.with(session.token).post<{ uri: string }>(at, { password });
  // Before it counts: a start that is killed in between begins the set-up anew.
  await installation.keepAuthenticator(uri);
  const renewed = await client
    .with(session.token)
    .post<{ token: string }>(`${at}/confirm`, { code: authenticatorCode(uri) });
  return client.with(renewed.token);
}

/** A code counts once, so that of a sign-in a moment ago may be used up: the neighbours count, too. */
const CODES = [0, 1, -1, undefined];

async function signIn(client: RestClient, installation: Installation): Promise<StaffSession> {
  const { staffEmail, secrets } = installation.record;
  const attempt = (code?: string): Promise<StaffSession> =>
    client.post<StaffSession>('/v1/staff/sessions', {
      email: staffEmail,
      password: secrets.staffPassword,
      ...(code === undefined ? {} : { code }),
    });
  const uri = secrets.staffAuthenticator;
  if (uri === undefined) return attempt();
  for (const steps of CODES) {
    // All used up by starts within a minute: the next half minute brings another.
    if (steps === undefined) await delay(30_000 - (Date.now() % 30_000));
    try {
      return await attempt(authenticatorCode(uri, steps ?? 1));
    } catch (error) {
      if (!(error instanceof RestError && error.code === 'session.code-wrong')) throw error;
    }
  }
  throw new InstallationError('no code of the first administrator’s authenticator app was taken: is this clock right?');
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
