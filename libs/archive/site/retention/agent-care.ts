import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import {
  type ArchiveWork,
  beginWorkCommand,
  type CopyAccess,
  type Failure,
  forgetWorkCommand,
  lookWorkCommand,
  type RepositoryAccess,
  type WorkResult,
} from '#contracts/archive';
import { Clock, pause } from '#libs/platform/clock';
import { DomainError, errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { AgentCommands, AgentRefusedError } from '#libs/sites/site';
import type { ArchiveRow } from '../archive.row.js';
import { callHinted } from '../runs/hinted-calls.js';
import { VaultAddress } from '../vault-address.js';
import { VaultService } from '../vault/vault.module.js';
import { RepositoryBusyError, VaultRepositories } from '../vault/vault-repositories.service.js';

/** What the agency's agent was to do for its archive failed there. */
export class AgentCareError extends DomainError {
  constructor({ code, message }: Failure) {
    super('unavailable', code, message);
  }
}

/** The credential and the lease end by themselves so long after this process has died. */
const LEASE_SECONDS = 120;
const LOOK_MS = 2_000;
const CALL_MS = 20_000;
/** Meanwhile nobody restores or archives: an agent that is silent for longer is not waited for. */
const SILENT_MS = 300_000;

/** With what credential. A rotation adds a key; those that it replaces are the site's to remove. */
const ROLES = { forget: 'maintain', check: 'read', rotate: 'append' } as const;

/** Care that only the agency's agent can take: it alone has the password of a customer-held archive. */
@Injectable()
export class AgentCare {
  constructor(
    private readonly agents: AgentCommands,
    private readonly repositories: VaultRepositories,
    private readonly vault: VaultService,
    private readonly address: VaultAddress,
    private readonly logger: AppLogger,
    private readonly clock: Clock,
  ) {}

  /**
   * Has the agent do it, with a credential that lives as long as the lease does, and waits for its end.
   *
   * @throws AgentCareError with the agent's words; AgentUnreachableError before it has begun, or when it is silent for five
   * minutes; AgentRefusedError
   */
  async run(
    archive: ArchiveRow,
    work: Extract<ArchiveWork, { kind: keyof typeof ROLES }>,
    signal: AbortSignal,
  ): Promise<WorkResult | 'busy'> {
    const role = ROLES[work.kind];
    const ends = new Date(Date.now() + LEASE_SECONDS * 1_000);
    const { credentialId, secret } = await this.repositories.issue(archive.archiveId, role, ends);
    const renew = async () => {
      await this.repositories.prolong(credentialId, LEASE_SECONDS);
      if (role === 'maintain') await this.repositories.maintain(archive.archiveId, credentialId, LEASE_SECONDS);
    };
    try {
      await renew();
      const access = await this.access(archive.archiveId, credentialId, secret);
      return await this.carryOut(archive, access, work, renew, signal);
    } catch (error) {
      if (error instanceof RepositoryBusyError) return 'busy';
      throw error;
    } finally {
      await this.repositories.endMaintenance(archive.archiveId, credentialId);
      await this.repositories.end(credentialId);
    }
  }

  /** The same at the second copy, by an access that its keeper gave and that is renewed elsewhere. @throws as {@link run} */
  async tidyCopy(
    archive: ArchiveRow,
    { url, user, secret, authority }: CopyAccess,
    snapshotIds: readonly string[],
    signal: AbortSignal,
  ): Promise<void> {
    const { archiveId: repositoryId } = archive;
    const access = { repositoryId, url, user, secret, authority, password: null, ...(await this.hint(repositoryId)) };
    const work = { kind: 'forget' as const, snapshotIds: [...snapshotIds], ofCopy: true };
    await this.carryOut(archive, access, work, () => Promise.resolve(), signal);
  }

  private async carryOut(
    { agentId, workloadId, workloadName }: ArchiveRow,
    access: RepositoryAccess,
    work: ArchiveWork,
    renew: () => Promise<void>,
    signal: AbortSignal,
  ): Promise<WorkResult> {
    const ofWork = { workloadId, workloadName, workId: randomUUID() };
    const options = { timeoutMs: CALL_MS, signal };
    try {
      await callHinted(this.agents, agentId, beginWorkCommand, { ...ofWork, access, work }, options);
      for (let heard = this.clock.monotonic(); ;) {
        await pause(LOOK_MS, signal);
        signal.throwIfAborted();
        await renew();
        const look = await this.agents.call(agentId, lookWorkCommand, ofWork, options).catch((error: unknown) => {
          // A line that is cut for a while is no failure of the work: its lease goes on, and so does the agent.
          this.logger.log.info({ why: errorText(error) }, 'an agent at work does not answer');
          const silent = this.clock.monotonic() - heard > SILENT_MS;
          if (silent || error instanceof AgentRefusedError) throw error;
          return undefined;
        });
        if (look) heard = this.clock.monotonic();
        if (look?.state === 'absent') throw new AgentCareError(VANISHED);
        if (look?.result) return succeeded(look.result);
      }
    } finally {
      const last = { timeoutMs: CALL_MS };
      // One that still runs is cancelled by it, and has let go of its lock before its credential ends. So is one that was begun
      // though no answer came: nobody else knows of it.
      await this.agents.call(agentId, forgetWorkCommand, ofWork, last).catch((error: unknown) => {
        this.logger.log.info({ why: errorText(error) }, 'an agent was not told that its work is over');
      });
    }
  }

  private async access(repositoryId: string, user: string, secret: string): Promise<RepositoryAccess> {
    const address = await this.address.of(repositoryId);
    return { repositoryId, ...address, user, secret, password: null, ...(await this.hint(repositoryId)) };
  }

  /** Which key the agent's password most likely opens, if it does not know. */
  private async hint(repositoryId: string): Promise<Pick<RepositoryAccess, 'keyHint'>> {
    const keyHint = await this.vault.objects.firstKey(repositoryId);
    return keyHint === null ? {} : { keyHint };
  }
}

const VANISHED: Failure = { code: 'archive.agent-restarted', message: 'The agent was restarted. It is tried again.' };

function succeeded(result: WorkResult): WorkResult {
  if (result.failure) throw new AgentCareError(result.failure);
  return result;
}
