import { describe, expect, test } from 'vitest';
import type { Restored } from './restored.js';
import { isSuspicious, learn, type Measures, unusual } from './signals.js';

const MEGABYTE = 2 ** 20;
const calm = (day = 0): Measures => ({
  filesBefore: 10_000,
  removed: day % 7,
  changed: 150 + (day % 20),
  renamed: 0,
  packed: (20 + (day % 5)) * MEGABYTE,
  density: 0.45 + (day % 3) / 100,
  strangers: 0,
  refused: 0,
});
const month = Array.from({ length: 30 }, (_, day) => calm(day));
const names = (run: Partial<Measures>, before = month, learnt = {}) =>
  unusual({ ...calm(), ...run }, before, learnt).map(({ signal }) => signal);
const suspicious = (run: Partial<Measures>, source: 'files' | 'postgresql' = 'files', before = month) =>
  isSuspicious(unusual({ ...calm(), ...run }, before, {}), source);

describe('a run', () => {
  test('as all others is nothing', () => {
    for (const run of month) expect(unusual(run, month, {})).toEqual([]);
  });

  test('that encrypts in place is suspicious, and so is one that renames what it encrypts', () => {
    expect(names({ changed: 9_000, packed: 4_000 * MEGABYTE, density: 1 })).toEqual(['changes', 'growth', 'entropy']);
    expect(suspicious({ changed: 9_000, density: 1 })).toBe(true);
    expect(suspicious({ removed: 9_000, packed: 4_000 * MEGABYTE, density: 1 })).toBe(true);
    expect(suspicious({ removed: 3_000, renamed: 3_000 })).toBe(true);
  });

  test('that only removes, or only adds much that cannot be compressed, is not', () => {
    expect(names({ removed: 4_000 })).toEqual(['deletions']);
    expect(suspicious({ removed: 4_000 })).toBe(false);
    expect(names({ packed: 9_000 * MEGABYTE, density: 0.99 })).toEqual(['growth', 'entropy']);
    expect(suspicious({ packed: 9_000 * MEGABYTE, density: 0.99 })).toBe(false);
    // Of a dump nothing else can be seen.
    expect(suspicious({ packed: 9_000 * MEGABYTE, density: 0.99 }, 'postgresql')).toBe(true);
  });

  test('is judged without a history by what needs none', () => {
    expect(names({ packed: 9_000 * MEGABYTE }, [])).toEqual([]);
    expect(suspicious({ removed: 9_000, density: 1 }, 'files', [])).toBe(true);
    expect(suspicious({ filesBefore: 10, removed: 9, changed: 1, density: 1 }, 'files', [])).toBe(false);
  });

  test('where so much is usual is not unusual', () => {
    const photographs = month.map((run, day) => ({ ...run, density: 0.98, changed: 6_000 + (day % 9) * 100 }));
    expect(names({ changed: 6_500, density: 0.99 }, photographs)).toEqual([]);
  });

  test('says the number, what is usual, and the limit', () => {
    const [signal] = unusual({ ...calm(), removed: 4_000 }, month, {});
    expect(signal).toMatchObject({ value: 0.4, what: '4000 of 10000 files were removed' });
    expect(signal?.usual).toBeLessThan(0.01);
    expect(signal?.limit).toBe(0.1);
  });
});

test('a false alarm raises the limits of its signals, and no others', () => {
  const run = { ...calm(), changed: 9_000, density: 1 };
  const learnt = learn([unusual(run, month, {})]);
  expect(Object.keys(learnt).sort()).toEqual(['changes', 'entropy']);
  expect(unusual(run, month, learnt)).toEqual([]);
  expect(names({ removed: 9_000, changed: 9_000, density: 1 }, month, learnt)).toEqual(['deletions']);
});

test('a stolen credential shows by what the vault refused and what no run made', () => {
  expect(suspicious({ refused: 12, strangers: 40 })).toBe(true);
  expect(suspicious({ refused: 2, strangers: 3 })).toBe(false);
});

describe('what a test restore saw', () => {
  const restored = (wrong: number, more: Partial<Restored> = {}): Measures => ({
    ...calm(),
    restored: { contents: { looked: 400, wrong }, canaries: null, tables: null, loads: null, ...more },
  });
  const found = (run: Measures, before: readonly Measures[]) => unusual(run, before, {}).map(({ signal }) => signal);

  test('of wrong contents counts against what is usual there, and never without an earlier proof', () => {
    expect(found(restored(400), month)).toEqual([]);
    expect(found(restored(60), [restored(4)])).toEqual(['wrong-contents']);
    expect(found(restored(150), [restored(120)])).toEqual([]);
    expect(found(restored(300), [restored(120)])).toEqual(['wrong-contents']);
    const few = { looked: 8, wrong: 4 };
    expect(found(restored(0, { contents: few }), [restored(0)])).toEqual([]);
  });

  test('of canaries and dumps that do not load is a fact: nothing makes it usual, not even a false alarm', () => {
    const run = restored(0, { canaries: { compared: 3, changed: 1 }, loads: { tried: 2, failed: 1 } });
    const signals = unusual(run, [run, run, run], {});
    expect(signals.map(({ signal }) => signal)).toEqual(['canary', 'load-failed']);
    expect(unusual(run, [run], learn([signals]))).toHaveLength(2);
  });

  test('of tables that lose their rows every time is usual', () => {
    const run = restored(0, { tables: { compared: 12, lost: 1 } });
    expect(found(run, [restored(0)])).toEqual(['rows-lost']);
    expect(found(run, [run, run, run])).toEqual([]);
  });

  test('is a suspicion with one other signal, and none alone', () => {
    const run = restored(0, { canaries: { compared: 1, changed: 1 } });
    expect(isSuspicious(unusual(run, month, {}), 'files')).toBe(false);
    expect(isSuspicious(unusual({ ...run, density: 1 }, month, {}), 'files')).toBe(true);
  });
});
