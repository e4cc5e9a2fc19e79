import { createHash } from 'node:crypto';
import { chmod, mkdir, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { z } from 'zod';
import { agentAssignment, type AgentAssignment, type EnrolRequest } from '#contracts/sites';
import { loadKeyFile, loadOrCreateKeyFile, type LinkIdentity } from '#libs/link';
import type { Clock } from '#libs/platform/clock';
import { ifPresent } from '#libs/platform/errors';
import { ControlPlane } from './control-plane.js';
import { DurableValue, syncDirectory, writeDurably } from './durable-file.js';
import { EnrolmentRefusedError, NotEnrolledError } from './errors.js';
import type { StateDirectory } from './state-directory.js';

/** What the agent remembers of its enrolment. */
export const enrolment = z.object({ controlUrl: z.url(), assignment: agentAssignment });
export type Enrolment = z.infer<typeof enrolment>;

export interface EnrolOptions {
  readonly directory: StateDirectory;
  readonly token: string;
  readonly controlUrl: string;
  readonly version: string;
}

/**
 * Enrols this machine: makes the key pair here, shows the control plane its public half and the token, and saves the
 * answer. The key is on the disk before the request leaves, so that a lost answer loses nothing: the same command asks
 * again with the same key, and gets the same answer.
 *
 * @throws EnrolmentRefusedError with the control plane's own words; ControlPlaneUnreachableError.
 */
export async function enrol(options: EnrolOptions): Promise<AgentAssignment> {
  const { directory, token, controlUrl, version } = options;
  await mkdir(directory.path, { recursive: true, mode: 0o711 });
  // Passable, not readable: PostgreSQL's user enters the degrade receiver's scratch directory below it.
  await chmod(directory.path, 0o711);
  const known = await enrolmentFile(directory).read();
  if (known) {
    throw new EnrolmentRefusedError(
      `This machine is enrolled already, for ${known.assignment.agencyName} (agent ${known.assignment.agentId}). To enrol it anew, revoke that agent in Mainstay and use another --config directory.`,
    );
  }
  const identity = await loadOrCreateKeyFile(directory.key);
  await syncDirectory(directory.path);
  const request: EnrolRequest = { token, publicKey: identity.publicKey, hostname: hostname(), version };
  const repeatable = createHash('sha256').update(`${identity.fingerprint} ${token}`).digest('hex').slice(0, 32);
  const assignment = await new ControlPlane(controlUrl).enrol(request, repeatable);
  await enrolmentFile(directory).write({ controlUrl, assignment });
  const configured = await ifPresent(stat(directory.configuration));
  if (!configured) await writeDurably(directory.configuration, '{\n  "workloads": []\n}\n');
  return assignment;
}

export function enrolmentFile(directory: StateDirectory): DurableValue<Enrolment> {
  return new DurableValue(directory.assignment, enrolment);
}

/** @throws NotEnrolledError */
export async function readEnrolment(directory: StateDirectory): Promise<Enrolment & { identity: LinkIdentity }> {
  const saved = await enrolmentFile(directory).read();
  if (!saved) throw new NotEnrolledError(directory.path);
  return { ...saved, identity: await loadKeyFile(directory.key) };
}

/** Persons' grants to go on without the metro, as the control plane serves them to the agent. */
export const servedGrants = z.object({
  /** Monotonic milliseconds of this machine, before it was asked: the seconds left count from then. */
  askedAt: z.number(),
  grants: agentAssignment.shape.degradeGrants.unwrap(),
  moves: agentAssignment.shape.moveGrants,
});
export type ServedGrants = z.infer<typeof servedGrants>;

export interface Refreshed {
  readonly assignment: AgentAssignment;
  /** It differed from the saved one, and is saved now. */
  readonly changed: boolean;
  readonly served: ServedGrants;
}

/**
 * Asks for the assignment anew, since sites come and go, and saves a change. Grants are not saved: they pass, and a
 * process that starts asks again.
 *
 * @throws ControlPlaneUnreachableError, EnrolmentRefusedError when the agent was revoked.
 */
export async function refreshAssignment(directory: StateDirectory, clock: Clock): Promise<Refreshed> {
  const { controlUrl, assignment, identity } = await readEnrolment(directory);
  const askedAt = clock.monotonic();
  const { degradeGrants, moveGrants, ...fresh } = await new ControlPlane(controlUrl).self(assignment.agentId, identity);
  const served = { askedAt, grants: degradeGrants ?? [], moves: moveGrants ?? [] };
  if (JSON.stringify(fresh) === JSON.stringify(assignment)) return { assignment, changed: false, served };
  await enrolmentFile(directory).write({ controlUrl, assignment: fresh });
  return { assignment: fresh, changed: true, served };
}
