import path from 'node:path';
import type { Stack } from '../stack.js';
import type { Address } from './acknowledged-writer.js';
import { AgencyMachine, WORKLOAD } from './agency-machine.js';
import { ContinuityClient, type ProtectionView } from './continuity-client.js';
import { createApiKey, signUp, type SignedUp, type Town } from './onboarding.js';

export interface ProtectOptions {
  readonly town: Town;
  /** Names the machine's folder. */
  readonly folder: string;
  readonly mode?: 'strict' | 'available';
  readonly tell: (stage: string) => void;
  readonly scale?: number;
}

/** An agency with its machine, all the way from sign-up to armed protection at both sites. */
export interface ProtectedAgency {
  readonly machine: AgencyMachine;
  readonly account: SignedUp;
  readonly client: ContinuityClient;
  /** The API key's client, as scripts use it. */
  readonly workloadId: string;
  readonly agentId: string;
  readonly functionId: string;
  readonly regionalSiteId: string | null;
  /** The metro site's. */
  readonly frontDoor: Address;
  /** All that its clients list beside production's own address: either site may be the one to go on at. */
  readonly frontDoors: readonly Address[];
}

/** The agency's machine, as it was left; nothing of it runs yet. */
export function machineOf(stack: Stack, folder: string, scale?: number): Promise<AgencyMachine> {
  return AgencyMachine.at({
    directory: stack.installation.file(folder),
    socketDirectory: path.join(stack.installation.socketDirectory, folder),
    processes: stack.table,
    ...(scale === undefined ? {} : { scale }),
  });
}

/** Makes the agency's machine with its database; nothing of it knows Mainstay yet. */
export async function buildMachine(stack: Stack, folder: string, scale?: number): Promise<AgencyMachine> {
  const machine = await machineOf(stack, folder, scale);
  await machine.startServer();
  await machine.fill();
  return machine;
}

/** The whole of a first day, by REST and the agent's own commands: nothing here has another way in. */
export async function protectAgency(
  stack: Stack,
  machine: AgencyMachine,
  options: ProtectOptions,
): Promise<ProtectedAgency> {
  const { tell, town } = options;
  tell(`${town.name} signs up and confirms its e-mail`);
  const account = await signUp(stack.apiUrl, stack.mailbox.directory, town);
  const client = new ContinuityClient(await createApiKey(account.owner));
  tell('the agent enrols with a one-time token and dials both sites');
  await machine.enrol(await client.enrolmentToken(town.name), stack.apiUrl);
  machine.agent.start();
  const agentId = await client.connectedAgent();
  tell('the workload is checked (preflight)');
  const functionId = await client.createFunction('Issue permits');
  const workloadId = await client.createWorkload({ agentId, functionId, name: WORKLOAD });
  const { findings } = await client.preflight(workloadId);
  const blockers = findings.filter(({ severity }) => severity === 'blocker');
  if (blockers.length > 0) throw new Error(`preflight found: ${blockers.map(({ what }) => what).join('; ')}`);
  tell(`preflight passed with ${findings.length} remarks; protecting at both sites`);
  // All of this town's clients run on this machine.
  await client.protect(workloadId, options.mode ?? 'strict', ['127.0.0.1/32']);
  const protection = await client.armed(workloadId, tell);
  const { regionalSiteId } = protection;
  const frontDoor = metroFrontDoor(protection);
  const regionalDoor = protection.regional?.frontDoor;
  const frontDoors = regionalDoor ? [frontDoor, regionalDoor] : [frontDoor];
  return { machine, account, client, workloadId, agentId, functionId, regionalSiteId, frontDoor, frontDoors };
}

export function metroFrontDoor(protection: ProtectionView): Address {
  const door = protection.metro?.frontDoor;
  if (!door) throw new Error('the metro site has no front door for this workload yet');
  return door;
}
