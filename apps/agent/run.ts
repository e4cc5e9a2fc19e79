import { rm, writeFile } from 'node:fs/promises';
import { SystemClock, pause } from '#libs/platform/clock';
import type { Logger } from '#libs/platform/telemetry';
import type { Alarm } from '#contracts/replication';
import { ArchiveCommands } from '#libs/archive/agent';
import { CommandDesk, WorkloadDesk } from '#libs/replication/agent';
import { postgresWorkloads, readConfiguration, readEnrolment, type StateDirectory } from '#libs/sites/agent';
import { ASK_ASSIGNMENT, AssignmentKeeper } from './keep-assignment.js';
import { knock, openDoor } from './local-door.js';
import { TunnelKeeper } from './tunnel-keeper.js';
import { tunnelFingerprint } from './tunnel.js';
import { workloadFiles } from './workload-files.js';

/** The path on the command door by which `archive status` asks what runs. */
export const ARCHIVE_STATUS = '/archive/status';
const SURVEILLANCE_MS = 30_000;
/** The tunnel was not up to take what was found. */
const SURVEILLANCE_AGAIN_MS = 2_000;

export interface RunOptions {
  readonly directory: StateDirectory;
  readonly version: string;
  readonly log: Logger;
}

/**
 * The agent: looks after the tunnel, carries out the sites' commands, goes on with the preflight of what is protected,
 * and asks now and then which sites there are. An orderly stop ends the tunnel too; a kill -9 leaves it running.
 *
 * @throws DoorTakenError when one runs already, NotEnrolledError, AgentConfigurationError.
 */
export async function runAgent(options: RunOptions, until: AbortSignal): Promise<void> {
  const { directory, version, log } = options;
  const configuration = await readConfiguration(directory);
  const { assignment } = await readEnrolment(directory);
  const desks = new Map(
    postgresWorkloads(configuration).map((workload) => {
      const { settings, baseline, made, protection } = workloadFiles(directory, workload.name);
      return [workload.name, new WorkloadDesk({ workload, settings, baseline, made, protection })];
    }),
  );
  const desk = new CommandDesk(desks);
  const archive = new ArchiveCommands({ configuration, state: directory, log });
  const assignments = new AssignmentKeeper({ directory, clock: new SystemClock(), log });
  const door = await openDoor(directory.commandSocket, async ({ url, json, signal }) => {
    try {
      if (url.pathname === ASK_ASSIGNMENT) {
        await assignments.ask();
        return { json: {} };
      }
      const body = await json();
      if (url.pathname === ARCHIVE_STATUS) return { json: archive.status() };
      if (url.pathname.startsWith('/v1/archive/')) return await archive.carryOut(url.pathname, body, signal);
      return await desk.carryOut(url.pathname, body, signal);
    } catch (error) {
      log.warn({ path: url.pathname, err: error }, 'a command was not carried out');
      throw error;
    }
  });
  const keeper = new TunnelKeeper(directory, tunnelFingerprint(version, configuration, assignment.agentId), log);
  try {
    await writeFile(directory.runPid, `${process.pid}\n`, { mode: 0o600 });
    await Promise.all([
      archive.start(),
      keeper.keep(until),
      again(until, () => surveilAll(desks, directory, log)),
      assignments.keep(until),
    ]);
  } finally {
    await keeper.stop();
    await door.close();
    await archive.close();
    for (const each of desks.values()) await each.close();
    await rm(directory.runPid, { force: true });
  }
}

/** @returns when it is due again. */
async function surveilAll(
  desks: ReadonlyMap<string, WorkloadDesk>,
  directory: StateDirectory,
  log: Logger,
): Promise<number> {
  const found: Record<string, Alarm[]> = {};
  for (const [name, desk] of desks) {
    try {
      found[name] = await desk.surveil();
    } catch (error) {
      // The pulse says that the server does not answer; what was found before stands.
      log.warn({ workload: name, err: error }, 'the workload could not be looked at');
    }
  }
  return knock(directory.tunnelSocket, '/alarms', { method: 'POST', body: found }).then(
    () => SURVEILLANCE_MS,
    () => SURVEILLANCE_AGAIN_MS,
  );
}

/** @param work answers in how many milliseconds it is due again. */
async function again(until: AbortSignal, work: () => Promise<number>): Promise<void> {
  while (!until.aborted) await pause(await work(), until);
}
