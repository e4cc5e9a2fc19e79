import { Injectable } from '@nestjs/common';
import { handExitCommand } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import { AgentCommands } from '#libs/sites/site';
import type { ArchiveRow } from '../archive.row.js';
import { AgentWorks } from '../runs/agent-works.js';
import { VaultRepositories } from '../vault/vault-repositories.service.js';

const HAND_MS = 20_000;

/** The way out: a credential that reads, and a password, on the agency's own machine, for stock restic. */
@Injectable()
export class Exits {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly agents: AgentWorks,
    private readonly repositories: VaultRepositories,
    private readonly commands: AgentCommands,
  ) {}

  /** Safe to repeat: what an attempt before has issued opens nothing any more. @throws AgentUnreachableError */
  async allow(archive: ArchiveRow, exitId: string, until: Date): Promise<void> {
    const { archiveId, agentId, workloadId, workloadName } = archive;
    const [known] = await this.work.run((tx) =>
      tx.query<{ credentialId: string | null; handedAt: Date | null }>(
        `INSERT INTO archive_exit (exit_id, archive_id, until) VALUES ($1, $2, $3)
         ON CONFLICT (exit_id) DO UPDATE SET until = excluded.until
         RETURNING credential_id AS "credentialId", handed_at AS "handedAt"`,
        [exitId, archiveId, until],
      ),
    );
    if (known?.handedAt) return;
    if (known?.credentialId) await this.repositories.end(known.credentialId);
    const credential = await this.repositories.issue(archiveId, 'read', until);
    await this.work.run((tx) =>
      tx.execute(`UPDATE archive_exit SET credential_id = $2 WHERE exit_id = $1`, [exitId, credential.credentialId]),
    );
    const access = await this.agents.access(archive, credential, 'leaving with stock restic');
    const input = { workloadId, workloadName, exitId, access, until: until.toISOString() };
    await this.commands.call(agentId, handExitCommand, input, { timeoutMs: HAND_MS });
    await this.work.run((tx) =>
      tx.execute(`UPDATE archive_exit SET handed_at = clock_timestamp() WHERE exit_id = $1`, [exitId]),
    );
  }
}
