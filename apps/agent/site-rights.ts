import { setTimeout as delay } from 'node:timers/promises';
import { pause } from '#libs/platform/clock';
import { z } from 'zod';
import {
  archiveCheckCommand,
  beginWorkCommand,
  cancelWorkCommand,
  forgetWorkCommand,
  handExitCommand,
  keyMode,
  type KeyMode,
  listTreeCommand,
  lookWorkCommand,
} from '#contracts/archive';
import {
  agentBackup,
  armCommand,
  checkpointCommand,
  disarmCommand,
  fenceCommand,
  preflightCommand,
  prepareCommand,
  releaseCommand,
  replicationNames,
  type ReplicationNames,
  workloadName,
} from '#contracts/replication';
import { type AgentAssignment, type AssignedWorkload, siteRole, type SiteRole, uuid } from '#contracts/sites';
import type { Clock } from '#libs/platform/clock';
import { DomainError } from '#libs/platform/errors';
import { areOurNames, CommandInvalidError, CommandUnknownError, WorkloadNotListedError } from '#libs/replication/agent';

/** A site asks for what the control plane has not assigned to it. */
export class SiteNotAssignedError extends DomainError {
  constructor(name: string, why: string) {
    super('forbidden', 'agent.site-not-assigned', `The agent does not do this about "${name}" for this site: ${why}.`);
  }
}

/** What a site says of a workload when it asks for something. What it leaves out, it claims nothing about. */
export interface Claim {
  readonly workloadName: string;
  readonly workloadId?: string | undefined;
  readonly role?: SiteRole | undefined;
  readonly names?: ReplicationNames | undefined;
  readonly keyMode?: KeyMode | undefined;
  readonly access?: { readonly password?: string | null | undefined } | undefined;
}

/**
 * A site that serves the workload, that serves it as its metro, that may look whether it can be replicated, or that archives
 * it.
 */
type Right = 'leg' | 'metro' | 'preflight' | 'archive';

/** Who may give each command. */
const COMMANDS: ReadonlyMap<string, Right> = new Map([
  [preflightCommand.path, 'preflight'],
  [armCommand.path, 'metro'],
  [disarmCommand.path, 'metro'],
  ...[prepareCommand, checkpointCommand, releaseCommand, fenceCommand, ...Object.values(agentBackup)].map(
    ({ path }) => [path, 'leg'] as const,
  ),
  ...[
    archiveCheckCommand,
    beginWorkCommand,
    lookWorkCommand,
    cancelWorkCommand,
    forgetWorkCommand,
    listTreeCommand,
    handExitCommand,
  ].map(({ path }) => [path, 'archive'] as const),
]);

const claimed = z.looseObject({
  workloadName,
  workloadId: uuid.optional(),
  role: siteRole.optional(),
  names: replicationNames.optional(),
  expectedNames: replicationNames.nullish(),
  keyMode: keyMode.optional(),
  access: z.looseObject({ password: z.string().nullish() }).optional(),
});

/** A stranger that asks again has the control plane asked again, ever more rarely. */
const ASK_FIRST_MS = 500;
const ASK_LONGEST_MS = 60_000;
/** After so long without a question it begins anew. */
const ASK_FORGOTTEN_MS = 300_000;
/** No site is kept waiting longer for the control plane. */
const ASK_WAIT_MS = 5_000;

type Known = Pick<AgentAssignment, 'workloads' | 'preflights' | 'archives'>;

/**
 * A workload that an answer lacks altogether is served as before until another answer agrees so much later: a control
 * plane that was restored from yesterday must not make production stand still. (The agent asks about every five minutes.)
 * An answer that has the workload, with other sites or under another id, counts at once.
 */
const DOUBT_MS = 180_000;

/** A site's question about a workload that the control plane was asked about. */
interface Asked {
  /** Monotonic milliseconds. */
  readonly at: number;
  /** Before then it is not asked again. */
  readonly again: number;
  readonly waitMs: number;
  readonly asking: Promise<void>;
  /** Of the last question that has ended; undefined before. */
  outcome: 'answered' | 'away' | undefined;
}

export interface SiteRightsOptions {
  readonly known: Known;
  /** Whether the agent's configuration lists it. */
  readonly listed: (workload: string) => boolean;
  /** Puts a new question to the control plane; {@link SiteRights.set} has had its answer when this ends. */
  readonly ask: () => Promise<unknown>;
  readonly clock: Clock;
  readonly refused: (facts: { siteId: string; workload: string; why: string }) => void;
  /** An answer lacks a workload that was assigned. */
  readonly doubted: (facts: { workload: string }) => void;
}

/**
 * Whether a site may ask something about a workload: the one place that every pulse, command and stream passes. What the
 * control plane assigned last counts, also while it is away. For what is not in it the control plane is asked, since
 * its order may have reached the site before its assignment reached the agent; nothing that is allowed waits for that.
 * Before the control plane has ever said what is assigned, each of the agent's sites is served.
 */
export class SiteRights {
  private known: Known;
  private readonly asked = new Map<string, Asked>();
  /** By workload, since when the answers lack it (monotonic milliseconds). */
  private readonly doubtedSince = new Map<string, number>();

  constructor(private readonly options: SiteRightsOptions) {
    this.known = options.known;
  }

  /** A new assignment, from the control plane. */
  set({ workloads, preflights, archives }: Known): void {
    // One of before says nothing of it, also after a newer one has.
    if (workloads === undefined) return;
    this.known = { workloads: [...workloads, ...this.inDoubt(workloads)], preflights, archives };
  }

  /** Of what was assigned, what is missing now and is not known to have ended. */
  private inDoubt(assigned: readonly AssignedWorkload[]): AssignedWorkload[] {
    const now = this.options.clock.monotonic();
    const missing = (this.known.workloads ?? []).filter(
      (before) => !assigned.some(({ workloadId, name }) => workloadId === before.workloadId || name === before.name),
    );
    for (const workloadId of this.doubtedSince.keys()) {
      if (!missing.some((each) => each.workloadId === workloadId)) this.doubtedSince.delete(workloadId);
    }
    return missing.filter(({ workloadId, name }) => {
      const since = this.doubtedSince.get(workloadId);
      if (since === undefined) {
        this.doubtedSince.set(workloadId, now);
        this.options.doubted({ workload: name });
      }
      return since === undefined || now - since < DOUBT_MS;
    });
  }

  /** For a pulse, which waits for nobody: why it is refused now, or undefined. A refusal has the control plane asked. */
  refusal(siteId: string, claim: Claim): { readonly why: string; readonly final: boolean } | undefined {
    const why = this.judge(siteId, claim, 'leg');
    if (why === undefined) return undefined;
    return { why, final: this.askAnew(siteId, claim, 'leg').outcome === 'answered' };
  }

  /**
   * For a command, before anybody reads more of it.
   *
   * @throws CommandUnknownError, CommandInvalidError, WorkloadNotListedError, SiteNotAssignedError
   */
  async requireCommand(siteId: string, path: string, body: unknown): Promise<void> {
    const right = COMMANDS.get(path);
    if (!right) throw new CommandUnknownError(path);
    const parsed = claimed.safeParse(body);
    if (!parsed.success) throw new CommandInvalidError(path, z.prettifyError(parsed.error));
    const { expectedNames, names, ...claim } = parsed.data;
    if (!this.options.listed(claim.workloadName)) throw new WorkloadNotListedError(claim.workloadName);
    await this.require(siteId, { ...claim, names: names ?? expectedNames ?? undefined }, right);
  }

  /** For a stream to the workload's server. @throws SiteNotAssignedError */
  requireStream(siteId: string, name: string): Promise<void> {
    return this.require(siteId, { workloadName: name }, 'leg');
  }

  /** Whether a stream that is open may stay. */
  allowsStream(siteId: string, name: string): boolean {
    return this.judge(siteId, { workloadName: name }, 'leg') === undefined;
  }

  /** A refusal costs a site a preflight or a state, so it rests on a question from after it came. */
  private async require(siteId: string, claim: Claim, right: Right): Promise<void> {
    if (this.judge(siteId, claim, right) === undefined) return;
    const { clock } = this.options;
    const came = clock.monotonic();
    const left = () => Math.max(0, came + ASK_WAIT_MS - clock.monotonic());
    for (;;) {
      const asked = this.askAnew(siteId, claim, right);
      await within(left(), asked.asking);
      const why = this.judge(siteId, claim, right);
      if (why === undefined) return;
      const soonest = asked.again - clock.monotonic();
      if (asked.at < came && soonest < left()) {
        await delay(Math.max(0, soonest));
        continue;
      }
      const unsure = asked.outcome === 'answered' ? '' : ', and the control plane does not answer just now';
      throw new SiteNotAssignedError(claim.workloadName, `${why}${unsure}`);
    }
  }

  /** @returns why not, or undefined. */
  private judge(siteId: string, claim: Claim, right: Right): string | undefined {
    if (right === 'archive') return this.judgeArchive(siteId, claim);
    if (this.known.workloads === undefined) return undefined;
    const why = this.judgeLeg(siteId, claim, right);
    const looking =
      right === 'preflight' &&
      claim.names === undefined &&
      this.known.preflights?.some((each) => each.siteId === siteId && each.workloadName === claim.workloadName);
    return looking ? undefined : why;
  }

  /**
   * Only what was said outright: what a site that archives may have done reads and writes files, so a control plane of
   * before, which says nothing of archives, allows none.
   */
  private judgeArchive(siteId: string, { workloadName: name, workloadId, ...claim }: Claim): string | undefined {
    const found = (this.known.archives ?? []).filter((each) => each.siteId === siteId && each.name === name);
    if (found.length === 0) return 'Mainstay has not assigned its archive there';
    const mine = found.filter((each) => each.workloadId === workloadId);
    if (mine.length === 0) return 'Mainstay knows that workload under another id';
    if (mine.every((each) => each.keyMode !== 'customer-held')) return undefined;
    // With a password that it knows a site would read what it is sent, and could have its own files restored.
    const brought = typeof claim.access?.password === 'string' || claim.keyMode === 'escrowed';
    return brought
      ? 'only the agency has the key of its archive, and the site brings a password of its own'
      : undefined;
  }

  private judgeLeg(siteId: string, claim: Claim, right: Right): string | undefined {
    const assigned = this.known.workloads?.find(({ name }) => name === claim.workloadName);
    const leg = assigned?.legs.find((each) => each.siteId === siteId);
    if (!assigned || !leg) return 'Mainstay has not assigned it there';
    if (claim.workloadId !== undefined && claim.workloadId !== assigned.workloadId) {
      return 'Mainstay knows that workload under another id';
    }
    const role = right === 'metro' ? 'metro' : claim.role;
    if (role !== undefined && role !== leg.role) return `Mainstay has assigned it there as ${leg.role}, not as ${role}`;
    if (claim.names !== undefined && !areAssigned(claim.names, assigned)) {
      return 'its protection has other names inside the server';
    }
    return undefined;
  }

  /** Has the control plane asked, unless it was not long ago; then it answers what became of that. */
  private askAnew(siteId: string, claim: Claim, right: Right): Asked {
    // A look before the protection does not count against the protection.
    const name = `${siteId} ${claim.workloadName} ${right === 'preflight' || right === 'archive' ? right : 'leg'}`;
    const now = this.options.clock.monotonic();
    const before = this.asked.get(name);
    if (before && now < before.again) return before;
    const last = before && now - before.again < ASK_FORGOTTEN_MS ? before : undefined;
    const waitMs = last ? Math.min(ASK_LONGEST_MS, last.waitMs * 2) : ASK_FIRST_MS;
    const asking = this.options.ask().then(
      () => {
        asked.outcome = 'answered';
        const why = this.judge(siteId, claim, right);
        if (why !== undefined) this.options.refused({ siteId, workload: claim.workloadName, why });
      },
      // What was assigned last counts.
      () => {
        asked.outcome = 'away';
      },
    );
    const asked: Asked = { at: now, again: now + waitMs, waitMs, asking, outcome: last?.outcome };
    this.asked.set(name, asked);
    return asked;
  }
}

async function within(milliseconds: number, work: Promise<void>): Promise<void> {
  const late = new AbortController();
  const enough = pause(milliseconds, late.signal);
  await Promise.race([work, enough]);
  late.abort();
}

function areAssigned(names: ReplicationNames, { names: assigned }: AssignedWorkload): boolean {
  return areOurNames(names) && Object.entries(names).every(([field, name]) => assigned[field] === name);
}
