import { Injectable } from '@nestjs/common';
import {
  type ArchiveCommand,
  type ArchiveWork,
  beginWorkCommand,
  cancelWorkCommand,
  forgetWorkCommand,
  lookWorkCommand,
  type RepositoryAccess,
  type WorkLook,
} from '#contracts/archive';
import { AgentCommands } from '#libs/sites/site';
import type { ArchiveRow } from '../archive.row.js';
import { ArchiveKeys } from '../keys/archive-keys.js';
import { VaultAddress } from '../vault-address.js';
import { VaultService } from '../vault/vault.module.js';
import { type IssuedCredential, VaultRepositories } from '../vault/vault-repositories.service.js';
import type { VaultRole } from '../vault/vault-rules.js';
import { callHinted } from './hinted-calls.js';

/** A credential ends by itself when the agent was not heard of for so long; each look prolongs it. */
export const CREDENTIAL_SECONDS = 86_400;
const CALL_MS = 20_000;

type Owned = Pick<ArchiveRow, 'archiveId' | 'agentId' | 'workloadId' | 'workloadName' | 'keyMode'>;

/** What the agent's restic is given to do, and how it comes in. The rows are the callers'. */
@Injectable()
export class AgentWorks {
  constructor(
    private readonly commands: AgentCommands,
    private readonly keys: ArchiveKeys,
    private readonly repositories: VaultRepositories,
    private readonly vault: VaultService,
    private readonly address: VaultAddress,
  ) {}

  /** A fresh credential for one work. Whoever has it written down ends it. */
  credential(archiveId: string, role: VaultRole, seconds = CREDENTIAL_SECONDS): Promise<IssuedCredential> {
    return this.repositories.issue(archiveId, role, new Date(Date.now() + seconds * 1_000));
  }

  /** With the agent's password where the key is escrowed, and the key to try first. @throws KeyUnavailableError */
  async access(archive: Owned, credential: IssuedCredential, purpose: string): Promise<RepositoryAccess> {
    const { archiveId, keyMode } = archive;
    const key = keyMode === 'escrowed' ? await this.keys.newest(archiveId, 'agent', purpose) : null;
    const keyHint = key ? key.resticKey : await this.vault.objects.firstKey(archiveId);
    return {
      repositoryId: archiveId,
      ...(await this.address.of(archiveId)),
      user: credential.credentialId,
      secret: credential.secret,
      password: key && (await this.keys.openKey(key, purpose)),
      ...(keyHint === null ? {} : { keyHint }),
    };
  }

  /**
   * Safe to repeat with the same id, when the credential of the time before has ended.
   *
   * @throws AgentUnreachableError, AgentRefusedError, KeyUnavailableError, ConfigLostError
   */
  async begin(
    archive: Owned,
    workId: string,
    work: ArchiveWork,
    credential: IssuedCredential,
    signal?: AbortSignal,
  ): Promise<void> {
    // restic makes the key first: an agent that was killed in between could not begin again. Its credential has ended.
    const ownKey = work.kind === 'backup' && archive.keyMode === 'customer-held';
    if (ownKey) await this.vault.objects.discardUnmade(archive.archiveId);
    const access = await this.access(archive, credential, `${work.kind} by the agent`);
    const input = { ...of(archive), workId, access, work };
    await callHinted(this.commands, archive.agentId, beginWorkCommand, input, ways(signal));
  }

  look(archive: Owned, workId: string, signal?: AbortSignal): Promise<WorkLook> {
    return this.call(archive, lookWorkCommand, { ...of(archive), workId }, signal);
  }

  async cancel(archive: Owned, workId: string): Promise<void> {
    await this.call(archive, cancelWorkCommand, { ...of(archive), workId });
  }

  async forget(archive: Owned, workId: string): Promise<void> {
    await this.call(archive, forgetWorkCommand, { ...of(archive), workId });
  }

  async prolong(credentialId: string): Promise<void> {
    await this.repositories.prolong(credentialId, CREDENTIAL_SECONDS);
  }

  /** It opens nothing from now on. Safe to repeat. */
  async end(credentialId: string): Promise<void> {
    await this.repositories.end(credentialId);
  }

  private call<I, O>(archive: Owned, command: ArchiveCommand<I, O>, input: I, signal?: AbortSignal): Promise<O> {
    return this.commands.call(archive.agentId, command, input, ways(signal));
  }
}

const ways = (signal?: AbortSignal) => ({ timeoutMs: CALL_MS, ...(signal ? { signal } : {}) });
const of = ({ workloadId, workloadName }: Owned) => ({ workloadId, workloadName });
