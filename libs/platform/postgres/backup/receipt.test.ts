import { appendFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Receipt } from './receipt.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'mainstay-receipt-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('a line that a full disk cut short counts for nothing, also once more is written behind it', async () => {
  const receipt = new Receipt(folder);
  const whole = { entry: 12, offset: 0, length: 8_192 };
  await receipt.markDone([whole]);
  for (const cut of ['12 8192 8', '12 8192 8192', '12 8192 8192 ', '12']) {
    await appendFile(path.join(folder, 'done.log'), cut);
    expect(await receipt.done()).toEqual([whole]);
  }
  const next = { entry: 3, offset: 16_384, length: 8_192 };
  await receipt.markDone([next]);
  expect(await receipt.done()).toEqual([whole, next]);
});
