import { runLoad } from './load/load.js';
import { type LoadFigures, type LoadRepository, loadRepository } from './load/plan.js';
import { peakMemory, resetPeakMemory } from './process-figures.js';
import type { VaultSide } from './sides.js';

const CLIENTS = 50;
const PACK_BYTES = 16 * 2 ** 20;

export const CROWD = `memory with ${CLIENTS} clients at once`;

/**
 * Fifty clients, each with a repository of its own, send packs and read them again.
 *
 * @returns the most memory that the server's process has had meanwhile, in MiB. @throws when a client is refused
 */
export async function crowdMemory(side: VaultSide, packsOfOne: number): Promise<number> {
  const pid = side.pid as number;
  const repositories: LoadRepository[] = [];
  for (let client = 0; client < CLIENTS; client += 1) repositories.push(loadRepository(await side.repository()));
  const load = (kind: 'open' | 'packs'): Promise<LoadFigures> =>
    runLoad({
      repositories,
      clients: CLIENTS,
      visits: repositories.map((_, repository) => ({
        repository,
        act: kind === 'open' ? { kind } : { kind, packs: packsOfOne },
      })),
      packBytes: PACK_BYTES,
    });
  const opened = await load('open');
  await resetPeakMemory(pid);
  const used = await load('packs');
  const [error] = [...opened.errors, ...used.errors];
  if (error !== undefined) throw new Error(`${side.name}: ${error}`);
  return peakMemory(pid);
}
