import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { SiteKey } from '../../apps/stack/installation.js';
import { Stack } from '../../apps/stack/stack.js';
import { ChaosProxy } from '../support/chaos-proxy.js';
import { SeededRandom } from './random.js';
import { playRound, type RoundResult } from './round.js';

export interface ChaosOptions {
  readonly rounds: number;
  readonly seed: number;
  readonly tell: (line: string) => void;
  readonly heard?: (result: RoundResult) => void;
}

/** Whether the invariants held in a round. */
export const held = (round: RoundResult): boolean => round.lost.length === 0 && round.acknowledgedByOld === 0;

/**
 * Plays rounds of random faults on one stack, with a proxy that can drop packets before each site's gateway. The
 * folder with logs and databases is kept, and named, when an invariant did not hold or a round broke off.
 */
export async function playChaos(options: ChaosOptions): Promise<RoundResult[]> {
  const home = await mkdtemp(path.join(tmpdir(), 'mainstay-chaos-'));
  const lines: Partial<Record<SiteKey, ChaosProxy>> = {};
  const results: RoundResult[] = [];
  let stack: Stack | undefined;
  let whole = false;
  try {
    stack = await Stack.start({
      home,
      tell: options.tell,
      advertiseGateway: async (site, port) => {
        const line = new ChaosProxy({ host: '127.0.0.1', port });
        lines[site] = line;
        return line.listen();
      },
    });
    const { metro, regional } = lines;
    if (!metro || !regional) throw new Error('no line stands before a gateway');
    for (let number = 1; number <= options.rounds; number++) {
      const random = new SeededRandom(options.seed + number);
      options.tell(`round ${number} of ${options.rounds}, seed ${random.seed}`);
      const result = await playRound({ stack, lines: { metro, regional } }, { number, random, tell: options.tell });
      results.push(result);
      options.heard?.(result);
    }
    whole = results.every(held);
    return results;
  } finally {
    await stack?.stop();
    for (const line of Object.values(lines)) await line.close();
    if (whole) await rm(home, { recursive: true, force: true });
    else options.tell(`logs and databases are kept in ${home}`);
  }
}
