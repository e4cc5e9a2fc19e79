import { expect, test } from 'vitest';
import { held, playChaos } from './chaos.js';

const ROUNDS = 5;

test(
  'no acknowledged write is lost and no old primary acknowledges, whatever goes wrong',
  { timeout: 600_000 },
  async () => {
    const said: string[] = [];
    const results = await playChaos({ rounds: ROUNDS, seed: 1_755, tell: (line) => said.push(line) }).catch(
      (cause: unknown) => {
        throw new Error(`a round broke off:\n${said.join('\n')}`, { cause });
      },
    );
    expect(results, said.join('\n')).toHaveLength(ROUNDS);
    for (const round of results) {
      expect(round.acknowledged).toBeGreaterThan(0);
      expect(held(round), JSON.stringify(round)).toBe(true);
    }
  },
);
