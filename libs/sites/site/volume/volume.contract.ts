import { mkdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Volume } from './volume.js';

/** What every volume must do. `make` answers an empty one; `clean` removes what it left. */
export function volumeContract(
  name: string,
  make: () => Promise<{ volume: Volume; clean: () => Promise<void> }>,
): void {
  describe(`${name} volume`, () => {
    let volume: Volume;
    let clean: () => Promise<void>;

    beforeAll(async () => ({ volume, clean } = await make()));
    afterAll(() => clean());

    test('is made once, measured and listed', async () => {
      const directory = await volume.create('permits');
      expect(directory).toBe(volume.path('permits'));
      await writeFile(path.join(directory, 'data'), Buffer.alloc(1_000_000, 'x'));
      expect(await volume.create('permits')).toBe(directory);
      expect(await readFile(path.join(directory, 'data'))).toHaveLength(1_000_000);
      expect(await volume.list()).toEqual(['permits']);
      expect(await volume.exists('permits')).toBe(true);
      expect(await volume.exists('other')).toBe(false);
      expect(await volume.usage('permits')).toBeGreaterThanOrEqual(1_000_000);
    });

    test('a snapshot stays as it was, and a clone of it goes its own way', async () => {
      const directory = volume.path('permits');
      await mkdir(path.join(directory, 'pg_tblspc'), { recursive: true });
      await symlink('../elsewhere', path.join(directory, 'pg_tblspc', '1'));
      await writeFile(path.join(directory, 'note'), 'before');
      const taken = await volume.snapshot('permits', 'first');
      await writeFile(path.join(directory, 'note'), 'after');
      expect(await volume.snapshot('permits', 'first')).toEqual(taken);
      const clone = await volume.clone('permits', 'first', 'drill');
      expect(await readFile(path.join(clone, 'note'), 'utf8')).toBe('before');
      expect(await readlink(path.join(clone, 'pg_tblspc', '1'))).toBe('../elsewhere');
      await writeFile(path.join(clone, 'note'), 'drill');
      expect(await readFile(path.join(directory, 'note'), 'utf8')).toBe('after');
      const again = await volume.clone('permits', 'first', 'drill-2');
      expect(await readFile(path.join(again, 'note'), 'utf8')).toBe('before');
      await expect(volume.clone('permits', 'first', 'drill')).rejects.toMatchObject({ code: 'volume.exists' });
      await expect(volume.clone('permits', 'none', 'x')).rejects.toMatchObject({ code: 'volume.not-found' });
      expect((await volume.snapshots('permits')).map((each) => each.name)).toEqual(['first']);
      await volume.removeSnapshot('permits', 'first');
      await volume.removeSnapshot('permits', 'first');
      expect(await volume.snapshots('permits')).toEqual([]);
    });

    test('what is removed is gone with its snapshots, and removing again is no fault', async () => {
      await volume.snapshot('permits', 'second');
      for (const each of ['permits', 'drill', 'drill-2', 'permits']) await volume.remove(each);
      expect(await volume.list()).toEqual([]);
      expect(await volume.snapshots('permits')).toEqual([]);
      expect(await volume.usage('permits')).toBe(0);
    });

    test('no name leads out of its root', async () => {
      for (const each of ['../up', '/etc', '.snapshots', '', 'a/b', 'x.part']) {
        await expect(async () => volume.create(each)).rejects.toMatchObject({ code: 'volume.name' });
        await expect(async () => volume.remove(each)).rejects.toMatchObject({ code: 'volume.name' });
      }
    });
  });
}
