import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { CopyVolume } from './copy-volume.js';
import { volumeContract } from './volume.contract.js';

volumeContract('copy', async () => {
  const root = await mkdtemp(path.join(tmpdir(), 'mainstay-volume-'));
  return { volume: new CopyVolume(root), clean: () => rm(root, { recursive: true, force: true }) };
});

test('a copy that was cut off is neither listed nor taken for a whole one', async () => {
  const root = await mkdtemp(path.join(tmpdir(), 'mainstay-volume-'));
  const volume = new CopyVolume(root);
  await volume.create('permits');
  await writeFile(path.join(volume.path('permits'), 'note'), 'whole');
  await mkdir(path.join(root, '.snapshots', 'permits', 'night.part'), { recursive: true });
  await mkdir(path.join(root, 'clone.part'));
  expect(await volume.snapshots('permits')).toEqual([]);
  expect(await volume.list()).toEqual(['permits']);
  await volume.snapshot('permits', 'night');
  await volume.clone('permits', 'night', 'clone');
  expect(await volume.list()).toEqual(['clone', 'permits']);
  await rm(root, { recursive: true, force: true });
});
