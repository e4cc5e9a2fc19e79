import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { ifPresent } from '#libs/platform/errors';
import type { Stack } from '../stack.js';
import type { AgencyMachine } from './agency-machine.js';
import { archiveAgency } from './archived-agency.js';
import { buildMachine, machineOf, protectAgency } from './protected-agency.js';

const FOLDER = 'sample-agency';
const TOWN = { name: 'Town of Tumwater Falls', contactName: 'Dana Reyes', email: 'it@tumwater-falls.example' };

const brought = z.object({
  workloadId: z.uuid(),
  key: z.string(),
  door: z.object({ host: z.string(), port: z.number() }),
  /** The archive of the file share; absent in a sample of before there were archives. */
  shareId: z.uuid().optional(),
});

export interface Sample {
  readonly machine: AgencyMachine;
  /** What to type next. */
  readonly instructions: string;
  stop(): Promise<void>;
}

/** Brings up the sample agency: made and protected on the first start, started again on later ones. */
export async function bringUpSample(stack: Stack, tell: (stage: string) => void): Promise<Sample> {
  tell('bringing up the sample agency');
  const file = stack.installation.secretFile('sample.json');
  const known = await ifPresent(readFile(file, 'utf8'));
  let state: z.infer<typeof brought>;
  let machine: AgencyMachine;
  if (known === undefined) {
    machine = await buildMachine(stack, FOLDER);
    const agency = await protectAgency(stack, machine, { town: TOWN, folder: FOLDER, tell });
    const { shareId } = await archiveAgency(agency, tell);
    state = { workloadId: agency.workloadId, key: agency.client.rest.bearer, door: agency.frontDoor, shareId };
    await stack.installation.writeSecret('sample.json', JSON.stringify(state));
  } else {
    state = brought.parse(JSON.parse(known));
    machine = await machineOf(stack, FOLDER);
    // Commits of an armed server wait for the metro, so its agent comes first. After a failover it stays fenced.
    machine.agent.start();
    await machine.startServer();
  }
  return { machine, instructions: instructions(stack, machine, state), stop: () => machine.stop() };
}

function instructions(stack: Stack, machine: AgencyMachine, state: z.infer<typeof brought>): string {
  const { host, port } = state.door;
  return `
The sample agency, ${TOWN.name}, is protected: its permits database at 127.0.0.1:${machine.port}.

Its clients list both addresses, and go on by themselves:
  psql "host=127.0.0.1,${host} port=${machine.port},${port} user=permits_desk dbname=permits target_session_attrs=read-write connect_timeout=2 tcp_user_timeout=5000"
  password: ${machine.record.clerkPassword}

See how it does:
  curl -s -H 'Authorization: Bearer ${state.key}' ${stack.apiUrl}/v1/workloads/${state.workloadId}/protection

The one call that declares its failover:
  curl -s -X POST ${stack.apiUrl}/v1/workloads/${state.workloadId}/failovers \\
    -H 'Authorization: Bearer ${state.key}' -H 'Idempotency-Key: first-declaration' \\
    -H 'Content-Type: application/json' -d '{"reason":"trying it out"}'
${state.shareId === undefined ? '' : ruinAndRestore(stack, machine, { key: state.key, shareId: state.shareId })}`;
}

function ruinAndRestore(stack: Stack, machine: AgencyMachine, state: { key: string; shareId: string }): string {
  const { directory } = machine.share;
  return `
Its file share is archived every hour. Ruin a folder of it, and get it back from the newest recovery point:
  rm -r ${directory}/permits/scans
  curl -s -H 'Authorization: Bearer ${state.key}' '${stack.apiUrl}/v1/archives/${state.shareId}/recovery-points?limit=1'
  curl -s -X POST ${stack.apiUrl}/v1/restores \\
    -H 'Authorization: Bearer ${state.key}' -H 'Idempotency-Key: first-restore' \\
    -H 'Content-Type: application/json' -d '{"recoveryPointId":"THE ID","paths":["${directory}/permits/scans"]}'
`;
}
