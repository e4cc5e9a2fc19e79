import { StackWorld } from '../support/stack-world.js';
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
 * Plays rounds of random faults on one stack, with a line that can drop packets before each site's gateway. The folder
 * with logs and databases is kept, and named, when an invariant did not hold or a round broke off.
 */
export async function playChaos(options: ChaosOptions): Promise<RoundResult[]> {
  const world = await StackWorld.start(options.tell);
  const results: RoundResult[] = [];
  let whole = false;
  try {
    for (let number = 1; number <= options.rounds; number++) {
      const random = new SeededRandom(options.seed + number);
      options.tell(`round ${number} of ${options.rounds}, seed ${random.seed}`);
      const result = await playRound(world, { number, random, tell: options.tell });
      results.push(result);
      options.heard?.(result);
    }
    whole = results.every(held);
    return results;
  } finally {
    await world.close(!whole);
  }
}
