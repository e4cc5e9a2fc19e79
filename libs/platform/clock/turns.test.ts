import { describe, expect, it } from 'vitest';
import { Turns } from './turns.js';

describe('turns', () => {
  it('do one after another, in order, and a failure is its own giver’s', async () => {
    const turns = new Turns();
    const said: string[] = [];
    let finish: (() => void) | undefined;
    const first = turns.take(async () => {
      await new Promise<void>((resolve) => (finish = resolve));
      said.push('first');
      throw new Error('the first failed');
    });
    const second = turns.take(async () => said.push('second'));
    const through = turns.through().then(() => said.push('through'));
    await new Promise<void>((resolve) => setImmediate(resolve));
    expect(said).toEqual([]);
    finish?.();
    await expect(first).rejects.toThrow('the first failed');
    await expect(second).resolves.toBe(2);
    await through;
    expect(said).toEqual(['first', 'second', 'through']);
  });
});
