import { expect, test } from 'vitest';
import { BandwidthLimit, type LineTime } from './bandwidth.js';

const RATE = 1_000_000;
const BURST = RATE / 4;

/** Time that passes only while somebody waits. */
class HandTime implements LineTime {
  at = 0;
  now(): number {
    return this.at;
  }
  async wait(milliseconds: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.at += milliseconds;
  }
}

interface Passed {
  readonly at: number;
  readonly bytes: number;
}

/** Requests of changing sizes; of each, what it used in the end. */
async function pass(requests: readonly { take: number; used?: number }[]): Promise<Passed[]> {
  const time = new HandTime();
  const limit = new BandwidthLimit(RATE, time);
  const passed: Passed[] = [];
  for (const { take, used = take } of requests) {
    await limit.take(take);
    passed.push({ at: time.at, bytes: used });
    limit.giveBack(take - used);
  }
  return passed;
}

/** In no window, wherever it begins, is there more than its share, the burst, and the one request that is on credit. */
function expectObeyed(passed: readonly Passed[]): void {
  const largest = Math.max(...passed.map(({ bytes }) => bytes));
  for (const [first, { at: begin }] of passed.entries()) {
    let bytes = 0;
    for (const { at, bytes: more } of passed.slice(first)) {
      bytes += more;
      expect(bytes).toBeLessThanOrEqual(((at - begin) / 1_000) * RATE + BURST + largest);
    }
  }
}

const sizes = (count: number) => Array.from({ length: count }, (_, n) => 8_192 * (1 + ((n * 7) % 30)));

test('the bytes in every window stay below the limit, whatever is asked for at once', async () => {
  const passed = await pass(sizes(400).map((take) => ({ take })));
  expectObeyed(passed);
  const total = passed.reduce((sum, { bytes }) => sum + bytes, 0);
  // And the line is used: nobody waits for what is free.
  expect(total).toBeGreaterThan((passed.at(-1)!.at / 1_000) * RATE * 0.95);
});

test('what compression saved may be used, and no more', async () => {
  const passed = await pass(sizes(400).map((take) => ({ take, used: Math.floor(take / 3) })));
  expectObeyed(passed);
  const total = passed.reduce((sum, { bytes }) => sum + bytes, 0);
  expect(total).toBeGreaterThan((passed.at(-1)!.at / 1_000) * RATE * 0.8);
});

test('a request larger than a second goes through at once, and the next one waits for it', async () => {
  const [large, next] = await pass([{ take: 3 * RATE }, { take: 8_192 }]);
  expect(large!.at).toBe(0);
  expect(next!.at).toBeGreaterThanOrEqual(((3 * RATE - BURST) / RATE) * 1_000);
});

test('an idle hour saves up one burst', async () => {
  const time = new HandTime();
  const limit = new BandwidthLimit(RATE, time);
  time.at = 3_600_000;
  await limit.take(BURST);
  await limit.take(1);
  expect(time.at).toBe(3_600_000);
  await limit.take(1);
  expect(time.at).toBeGreaterThan(3_600_000);
});

test('who gives up while waiting takes nothing, and those behind go on', async () => {
  const time = new HandTime();
  const limit = new BandwidthLimit(RATE, time);
  await limit.take(RATE);
  const gone = limit.take(50 * RATE, AbortSignal.abort(new Error('given up')));
  const behind = limit.take(8_192);
  await expect(gone).rejects.toThrow('given up');
  await behind;
  expect(time.at).toBeLessThan(1_000);
});
