import { Injectable } from '@nestjs/common';
import { archiveCheckCommand, handExitCommand } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import { AgentCommands } from '#libs/sites/site';
import { Archives } from '../archives.service.js';
import { AgentWorks } from '../runs/agent-works.js';
import { callHinted } from '../runs/hinted-calls.js';
import { VaultRepositories } from '../vault/vault-repositories.service.js';

const HAND_MS = 20_000;

/** The way out: a credential that reads, and a password, on the agency's own machine, for stock restic. */
@Injectable()
export class Exits {
  private readonly handing = new Set<string>();

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly agents: AgentWorks,
    private readonly repositories: VaultRepositories,
    private readonly commands: AgentCommands,
  ) {}

  /** Those that were not handed over yet, and are still good. */
  due(): Promise<{ exitId: string }[]> {
    return this.work.run((tx) =>
      tx.query<{ exitId: string }>(
        // In no order: those whose agents are away, however many, keep nobody else waiting.
        `SELECT exit_id AS "exitId" FROM archive_exit WHERE handed_at IS NULL AND until > clock_timestamp()
          ORDER BY random() LIMIT 500`,
      ),
    );
  }

  /** Safe to repeat: what an attempt before has issued opens nothing any more. @throws AgentUnreachableError */
  async hand(exitId: string): Promise<void> {
    if (this.handing.has(exitId)) return;
    this.handing.add(exitId);
    try {
      await this.handOver(exitId);
    } finally {
      this.handing.delete(exitId);
    }
  }

  private async handOver(exitId: string): Promise<void> {
    const known = await this.work.run(async (tx) => {
      const [row] = await tx.query<{ archiveId: string; credentialId: string | null; until: Date }>(
        `SELECT archive_id AS "archiveId", credential_id AS "credentialId", until FROM archive_exit
          WHERE exit_id = $1 AND handed_at IS NULL AND until > clock_timestamp()`,
        [exitId],
      );
      return row && { ...row, archive: await this.archives.get(tx, row.archiveId) };
    });
    if (!known) return;
    const { archive, until } = known;
    // Before anything is issued and opened: an agent that does not answer is asked again in seconds.
    const { archiveId, agentId, workloadId, workloadName, source, keyMode } = archive;
    const ways = { timeoutMs: HAND_MS };
    await this.commands.call(agentId, archiveCheckCommand, { workloadId, workloadName, source, keyMode }, ways);
    if (known.credentialId) await this.repositories.end(known.credentialId);
    const credential = await this.repositories.issue(archiveId, 'read', until);
    await this.work.run((tx) =>
      tx.execute(`UPDATE archive_exit SET credential_id = $2 WHERE exit_id = $1`, [exitId, credential.credentialId]),
    );
    const access = await this.agents.access(archive, credential, 'leaving with stock restic');
    const input = { workloadId, workloadName, exitId, access, until: until.toISOString() };
    await callHinted(this.commands, agentId, handExitCommand, input, ways);
    await this.work.run((tx) =>
      tx.execute(`UPDATE archive_exit SET handed_at = clock_timestamp() WHERE exit_id = $1`, [exitId]),
    );
  }
}
