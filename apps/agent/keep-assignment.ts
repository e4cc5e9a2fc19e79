import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '#libs/platform/clock';
import { errorText } from '#libs/platform/errors';
import type { Logger } from '#libs/platform/telemetry';
import { refreshAssignment, type StateDirectory } from '#libs/sites/agent';
import { knock } from './local-door.js';
import { askTunnel } from './tunnel-keeper.js';

const REFRESH_MS = 300_000;
/** After a control plane that did not answer. */
const REFRESH_AGAIN_MS = 30_000;
/** While production may be waiting for a person's grant, or run on one that a person may take back. */
const STALLED_MS = 10_000;
const LOOK_MS = 2_000;

export interface AssignmentParts {
  readonly directory: StateDirectory;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Asks the control plane now and then which sites there are, and hands the tunnel what it must know: changed sites, and
 * persons' grants to go on without the metro, for the case that no site can bring them. Never rejects.
 */
export async function keepAssignment(parts: AssignmentParts, until: AbortSignal): Promise<void> {
  const { clock, directory } = parts;
  while (!until.aborted) {
    const begun = clock.monotonic();
    // Spread, so that all agents do not come at once after an outage.
    const spread = 0.75 + Math.random() / 2;
    const next = (await refresh(parts)) * spread;
    const passed = () => clock.monotonic() - begun;
    while (!until.aborted && passed() < next) {
      await pause(Math.min(LOOK_MS, next - passed()), until);
      if (passed() >= STALLED_MS * spread && (await stalled(directory))) break;
    }
  }
}

/** @returns in how many milliseconds it is due again. */
async function refresh({ directory, clock, log }: AssignmentParts): Promise<number> {
  try {
    const { changed, served } = await refreshAssignment(directory, clock);
    if (changed) {
      log.info({ sites: changed.sites.map(({ name }) => name) }, 'the assignment has changed');
      // A tunnel that is not up reads the saved assignment when it starts.
      await knock(directory.tunnelSocket, '/sites', { method: 'POST', body: changed.sites }).catch(() => undefined);
    }
    // One that is not up misses the metro first: it is told again while it does.
    await knock(directory.tunnelSocket, '/grants', { method: 'POST', body: served }).catch(() => undefined);
    return REFRESH_MS;
  } catch (error) {
    log.info({ reason: errorText(error) }, 'the assignment could not be asked for');
    return REFRESH_AGAIN_MS;
  }
}

/** Whether the metro acknowledges nothing to one of the workloads. */
async function stalled(directory: StateDirectory): Promise<boolean> {
  const status = await askTunnel(directory).catch(() => undefined);
  return status?.workloads.some(({ alarms }) => alarms.some(({ code }) => code === 'replication.stalled')) ?? false;
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await delay(milliseconds, undefined, { signal }).catch(() => undefined);
}
