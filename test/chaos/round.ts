import { setTimeout as delay } from 'node:timers/promises';
import { waitFor } from '#libs/platform/clock';
import { withClient } from '#libs/platform/postgres';
import { Traffic } from '../../apps/stack/demo/traffic.js';
import { AcknowledgedWriter, type Address, findLost } from '../../apps/stack/sample/acknowledged-writer.js';
import { type AgencyMachine, CLERK, DATABASE } from '../../apps/stack/sample/agency-machine.js';
import type { Acceptance } from '../../apps/stack/sample/continuity-client.js';
import type { ProtectedAgency } from '../../apps/stack/sample/protected-agency.js';
import { RestError } from '../../apps/stack/rest-client.js';
import type { StackWorld } from '../support/stack-world.js';
import { drawFault, type World } from './faults.js';
import type { SeededRandom } from './random.js';

export interface RoundResult {
  readonly seed: number;
  readonly faults: readonly string[];
  readonly loss: string;
  readonly acknowledged: number;
  readonly lost: readonly string[];
  /** Acknowledged by the old primary after the promotion. */
  readonly acknowledgedByOld: number;
}

export interface RoundOptions {
  readonly number: number;
  readonly random: SeededRandom;
  readonly tell: (line: string) => void;
}

const DESTROYED: Acceptance = { acceptLoss: { kind: 'unknown' }, oldServer: 'destroyed' };

/** How long the returning old primary is begged for an acknowledgement. */
const TEMPTATION_MS = 2_000;

/**
 * One life of an agency in strict mode: protected, under writers, through random faults, destroyed at a random moment,
 * failed over, and its old primary back again. The oracle is the invariants: no acknowledged write is lost, and the old
 * primary acknowledges none after the promotion.
 */
export async function playRound(world: StackWorld, options: RoundOptions): Promise<RoundResult> {
  const { random, tell, number } = options;
  const agency = await world.agency(`chaos-${number}`);
  const { machine, frontDoors } = agency;
  const traffic = new Traffic(machine, [{ host: '127.0.0.1', port: machine.port }, ...frontDoors], 3);
  traffic.start();
  try {
    await traffic.more(20);
    const faults = await letThingsGoWrong({ stack: world.stack, lines: world.lines, machine }, random, tell);
    tell('the agency is destroyed');
    await machine.destroy();
    const { loss, door } = await failOver(agency, tell);
    tell(`the ${door.port === agency.frontDoor.port ? 'metro' : 'regional'} site has taken over`);
    await traffic.more(20, 120_000);
    await traffic.stop();
    const lost = await withClient(machine.clerk(door.port), (client) => findLost(client, traffic.writers));
    const acknowledgedByOld = await returnOfTheOld(machine);
    return { seed: random.seed, faults, loss, acknowledged: traffic.acknowledged, lost, acknowledgedByOld };
  } finally {
    await traffic.stop();
    await machine.stop();
  }
}

async function letThingsGoWrong(world: World, random: SeededRandom, tell: (line: string) => void): Promise<string[]> {
  const names: string[] = [];
  const count = random.integer(1, 3);
  for (let turn = 0; turn < count; turn++) {
    const fault = drawFault(random, world);
    names.push(fault.name);
    tell(`fault: ${fault.name}`);
    await fault.begin();
    await delay(random.integer(200, 4_000));
    await fault.end();
    await delay(random.integer(0, 1_500));
  }
  return names;
}

interface Outcome {
  /** What the record says of it. */
  readonly loss: string;
  /** Of the site that took over: the regional one, where the metro had been silent for too long. */
  readonly door: Address;
}

/** Declares and sees it through, saying what a person would when asked. */
async function failOver(agency: ProtectedAgency, tell: (line: string) => void): Promise<Outcome> {
  const { client, workloadId } = agency;
  const declare = async (more: Partial<Acceptance>): Promise<{ id: string }> => {
    const answer = await waitFor(
      'the declaration to be answered',
      () => answerOf(() => client.declare(workloadId, { reason: 'chaos', ...more })),
      { timeoutMs: 60_000, everyMs: 250 },
    );
    if (answer instanceof RestError) throw answer;
    return answer;
  };
  let run: { id: string };
  try {
    run = await declare({});
  } catch (error) {
    if (!(error instanceof RestError) || error.code !== 'failover.loss-not-accepted') throw error;
    tell('the loss is not known to be none: the person accepts that');
    run = await declare(DESTROYED);
  }
  const finished = await waitFor(
    'the failover to finish',
    async () => {
      const view = await client.run(run.id);
      if (view.state === 'awaiting-confirmation') {
        await client.confirm(run.id, DESTROYED);
      }
      return ['completed', 'failed', 'cancelled'].includes(view.state) ? view : undefined;
    },
    { timeoutMs: 120_000, everyMs: 100 },
  );
  if (finished.state !== 'completed') throw new Error(`the failover ended ${finished.state}`);
  const { report } = finished;
  if (!report?.frontDoor) throw new Error('the record does not say where production is now');
  return { loss: report.loss.kind, door: report.frontDoor };
}

/** The api may be on its way up again: only what it says, a refusal too, counts as an answer. */
async function answerOf<T>(call: () => Promise<T>): Promise<T | RestError | undefined> {
  try {
    return await call();
  } catch (error) {
    return error instanceof RestError && error.status < 500 ? error : undefined;
  }
}

async function returnOfTheOld(machine: AgencyMachine): Promise<number> {
  await machine.startServer();
  const tempter = new AcknowledgedWriter({
    addresses: [{ host: '127.0.0.1', port: machine.port }],
    user: CLERK,
    password: machine.record.clerkPassword,
    database: DATABASE,
    writer: 99,
  });
  tempter.start();
  await delay(TEMPTATION_MS);
  machine.agent.start();
  await waitFor('the old primary to be fenced', async () => !(await machine.server.isRunning()), { timeoutMs: 60_000 });
  await tempter.stop();
  return tempter.acknowledged.length;
}
