import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { idOf, VaultUnderTest } from './testing/vault-under-test.js';

const BUFFER_BYTES = 256 * 1024;

let vault: VaultUnderTest;
beforeAll(async () => {
  vault = await VaultUnderTest.start();
});
afterAll(() => vault.stop());

test('objects that arrive faster than the disk takes them are stored as they came', async () => {
  const { id, as, of } = await vault.opened('append');
  const wrong: string[] = [];
  for (let turn = 0; turn < 20; turn += 1) {
    // The last bytes come while both buffers are in use: one is full, one is being written.
    const bodies = Array.from({ length: 10 }, (_, index) => randomBytes(4 * BUFFER_BYTES + turn * 10 + index + 1));
    const taken = bodies.map((body) => vault.status('POST', of(`data/${idOf(body)}`), { as, body }));
    expect(new Set(await Promise.all(taken))).toEqual(new Set([200]));
    for (const body of bodies) {
      const name = idOf(body);
      const stored = await readFile(path.join(vault.directory, id, 'data', name.slice(0, 2), name));
      if (!stored.equals(body)) wrong.push(name);
    }
  }
  expect(wrong).toEqual([]);
});

test('what was stored counts, also when it could not be written down and is sent again', async () => {
  const { id, as, of } = await vault.opened('append');
  const body = randomBytes(1_000);
  const send = () => vault.status('POST', of(`snapshots/${idOf(body)}`), { as, body });
  await vault.rows(`ALTER TABLE vault_snapshot ADD CONSTRAINT away CHECK (false) NOT VALID`);
  try {
    expect(await send()).toBe(500);
  } finally {
    await vault.rows(`ALTER TABLE vault_snapshot DROP CONSTRAINT away`);
  }
  expect(await vault.service.storedBytes(id)).toBe(body.length);
  expect(await send()).toBe(200);
  expect(await vault.service.storedBytes(id)).toBe(body.length);
  expect(await vault.rows(`SELECT FROM vault_snapshot WHERE repository_id = $1`, [id])).toHaveLength(1);
});
