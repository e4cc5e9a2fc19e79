import { pause } from '#libs/platform/clock';
import type { Clock } from '#libs/platform/clock';
import { errorText } from '#libs/platform/errors';
import type { Logger } from '#libs/platform/telemetry';
import { ControlPlaneUnreachableError, refreshAssignment, type StateDirectory } from '#libs/sites/agent';
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

/** The path on the command door by which the tunnel has the control plane asked at once. */
export const ASK_ASSIGNMENT = '/assignment/ask';
const ASK_MS = 70_000;

/** The tunnel's question, when a site asks for what is not assigned: its own door has heard the answer when this ends. */
export async function askForAssignment(directory: StateDirectory): Promise<void> {
  const { status } = await knock(directory.commandSocket, ASK_ASSIGNMENT, { method: 'POST', timeoutMs: ASK_MS });
  if (status !== 200)
    throw new ControlPlaneUnreachableError('The control plane could not be asked for the assignment.');
}

/**
 * Asks the control plane now and then which sites there are and what they may ask, and hands the tunnel what it must
 * know: a changed assignment, and persons' grants to go on without the metro, for the case that no site can bring them.
 */
export class AssignmentKeeper {
  private asking: Promise<void> = Promise.resolve();
  private next: Promise<void> | undefined;

  constructor(private readonly parts: AssignmentParts) {}

  /** Until the signal. Never rejects. */
  async keep(until: AbortSignal): Promise<void> {
    const { clock, directory, log } = this.parts;
    while (!until.aborted) {
      const begun = clock.monotonic();
      const due = await this.ask().then(
        () => REFRESH_MS,
        (error: unknown) => {
          log.info({ reason: errorText(error) }, 'the assignment could not be asked for');
          return REFRESH_AGAIN_MS;
        },
      );
      // Spread, so that all agents do not come at once after an outage.
      const spread = 0.75 + Math.random() / 2;
      const passed = () => clock.monotonic() - begun;
      while (!until.aborted && passed() < due * spread) {
        await pause(Math.min(LOOK_MS, due * spread - passed()), until);
        if (passed() >= STALLED_MS * spread && (await stalled(directory))) break;
      }
    }
  }

  /**
   * Puts a question that begins from now on, after the one that is under way; who asks meanwhile waits for the same.
   *
   * @throws ControlPlaneUnreachableError, EnrolmentRefusedError
   */
  ask(): Promise<void> {
    this.next ??= this.asking
      // Whoever put that question has heard what became of it.
      .catch(() => undefined)
      .then(() => {
        this.next = undefined;
        this.asking = this.refresh();
        return this.asking;
      });
    return this.next;
  }

  private async refresh(): Promise<void> {
    const { directory, clock, log } = this.parts;
    const { assignment, changed, served } = await refreshAssignment(directory, clock);
    if (changed) log.info({ sites: assignment.sites.map(({ name }) => name) }, 'the assignment has changed');
    // Also an unchanged one: the tunnel may have missed the change. One that is not up reads the saved one at its start.
    await this.tellTunnel('/assignment', assignment);
    // One that is not up misses the metro first: it is told again while it does.
    await this.tellTunnel('/grants', served);
  }

  /** Never rejects: the control plane has answered, and the tunnel hears it with the next answer. */
  private async tellTunnel(path: string, body: unknown): Promise<void> {
    const { directory, log } = this.parts;
    try {
      const { status } = await knock(directory.tunnelSocket, path, { method: 'POST', body });
      if (status !== 200) log.warn({ path, status }, 'the tunnel did not take what the control plane says');
    } catch (error) {
      log.info({ path, reason: errorText(error) }, 'the tunnel could not be told what the control plane says');
    }
  }
}

/** Whether the metro acknowledges nothing to one of the workloads. */
async function stalled(directory: StateDirectory): Promise<boolean> {
  // A tunnel that does not answer is the keeper's to mend and to report; it begins with a question of its own.
  const status = await askTunnel(directory).catch(() => undefined);
  return status?.workloads.some(({ alarms }) => alarms.some(({ code }) => code === 'replication.stalled')) ?? false;
}
