import { Injectable } from '@nestjs/common';
import { z } from 'zod';
import type { Failure } from '#contracts/archive';
import { DomainError } from '#libs/platform/errors';
import type { ArchiveRow } from '../archive.row.js';
import { failureOf } from '../archives.errors.js';
import { AgentTurn } from '../copies/agent-turn.js';
import { ResticFailedError } from '../restic/restic.errors.js';
import { SiteRestic } from '../restic/site-restic.js';
import { AgentCare } from '../retention/agent-care.js';
import { type DamageOutcome, Damages } from './damages.service.js';
import { FAULT_CODES } from './fault-codes.js';

const summary = z.object({
  message_type: z.literal('summary'),
  num_errors: z.number(),
  broken_packs: z.array(z.string().regex(/^[0-9a-f]{64}$/)).nullish(),
});

interface Part {
  readonly part: number;
  readonly of: number;
}

/** What a check says of the repository; all else says why it could not be made. */
export const isFinding = ({ code }: Failure): boolean => code === 'archive.damaged' || FAULT_CODES.includes(code);

/** restic decrypts what the hash cannot see: whether each thing is what the trees say. */
@Injectable()
export class ResticChecks {
  constructor(
    private readonly restic: SiteRestic,
    private readonly agent: AgentCare,
    private readonly turn: AgentTurn,
    private readonly damages: Damages,
  ) {}

  /**
   * Where the agent alone has the key it checks, as long as nothing else needs it. Packs that were gone are brought back from
   * the second copy. @returns what is wrong, or why the check could not be made ({@link isFinding}); null: it passed
   */
  check(archive: ArchiveRow, part: Part, signal: AbortSignal): Promise<Failure | null> {
    return this.attempt(archive, part, signal, false);
  }

  private async attempt(
    archive: ArchiveRow,
    part: Part,
    signal: AbortSignal,
    repaired: boolean,
  ): Promise<Failure | null> {
    const { archiveId } = archive;
    const broken: string[] = [];
    try {
      if (archive.keyMode === 'customer-held') return await this.byAgent(archive, part, signal);
      await this.here(archiveId, part, signal, broken);
      return null;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof DomainError)) throw error;
      const said = error instanceof ResticFailedError ? error.messages : isFinding(error) ? [error.message] : [];
      const packs = [...broken, ...packsIn(said)];
      const outcomes: DamageOutcome[] = [];
      for (const id of new Set(packs)) outcomes.push(await this.damages.found(archiveId, { type: 'data', id }));
      // Packs that were gone have come from the second copy: whether they were all that was wrong, restic says.
      if (!repaired && outcomes.includes('repaired')) return this.attempt(archive, part, signal, true);
      return failureOf(error);
    }
  }

  private byAgent(archive: ArchiveRow, part: Part, signal: AbortSignal): Promise<Failure | null> {
    return this.turn.beside(archive, signal, async (mine) => {
      const outcome = await this.agent.run(archive, { kind: 'check', ...part }, mine);
      return outcome === 'busy' ? BUSY : null;
    });
  }

  /** @param broken what restic names is added to it */
  private async here(archiveId: string, { part, of }: Part, signal: AbortSignal, broken: string[]): Promise<void> {
    const args = ['check', '--json', '--no-lock', `--read-data-subset=${part}/${of}`];
    const onLine = (line: unknown): void => {
      const parsed = summary.safeParse(line);
      if (parsed.success) broken.push(...(parsed.data.broken_packs ?? []));
    };
    const purpose = 'checking the repository';
    await this.damages.watched(archiveId, signal, (watched) =>
      this.restic.run(archiveId, args, { role: 'read', purpose, signal: watched, onLine }),
    );
  }
}

const BUSY: Failure = { code: 'archive.busy', message: 'The repository is in use. It is checked another time.' };

/** In restic's words, here or at the agent: `pack 3f…: …`. */
function packsIn(messages: readonly string[]): string[] {
  return messages.flatMap((message) => [...message.matchAll(/\bpack ([0-9a-f]{64})\b/gi)].map(([, id = '']) => id));
}
