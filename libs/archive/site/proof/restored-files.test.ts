import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { hashOf, headOf } from './restored-files.js';

test('a name that climbs is no file’s, wherever it would lead', async () => {
  const home = await mkdtemp(path.join(tmpdir(), 'mainstay-restored-'));
  try {
    const root = path.join(home, 'files');
    await mkdir(path.join(root, 'share'), { recursive: true });
    await writeFile(path.join(root, 'permit'), 'a permit');
    await writeFile(path.join(home, 'secret'), 'of the site');
    expect((await headOf(root, '/permit', 100))?.toString()).toBe('a permit');
    for (const name of ['/../secret', '../secret', '/share/../../secret', '/share/../permit']) {
      expect(await headOf(root, name, 100)).toBeUndefined();
      expect(await hashOf(root, name, new AbortController().signal)).toBeUndefined();
    }
  } finally {
    await rm(home, { recursive: true });
  }
});
