import { expect, test } from 'vitest';
import {
  archiveCheckCommand,
  beginWorkCommand,
  cancelWorkCommand,
  forgetWorkCommand,
  handExitCommand,
  listTreeCommand,
  lookWorkCommand,
} from './agent-work.js';

const ID = '7f4df1f0-55a3-4a36-8a53-6a2a7ad3a2a4';
const snapshotId = 'a'.repeat(64);
const ofWorkload = { workloadId: ID, workloadName: 'share' };
const about = { ...ofWorkload, workId: ID };
const access = {
  repositoryId: ID,
  url: `https://vault/${ID}/`,
  user: 'user',
  secret: 'secret',
  authority: null,
  password: null,
};
const limits = { bandwidthBytesPerSecond: null };
const restore = { kind: 'restore', snapshotId, paths: [], overwrite: 'never', limits };
const works = [
  { kind: 'backup', source: 'files', excludes: [], limits, previous: [], tags: [] },
  { ...restore, target: { kind: 'original' } },
  { ...restore, target: { kind: 'folder', path: '/srv' } },
  { kind: 'forget', snapshotIds: [] },
  { kind: 'check', part: 1, of: 1 },
  { kind: 'rotate', rotationId: ID },
];
const commands = [
  ...works.map((work) => [beginWorkCommand, { ...about, access, work }] as const),
  [archiveCheckCommand, { ...ofWorkload, source: 'files', keyMode: 'escrowed' }],
  [lookWorkCommand, about],
  [cancelWorkCommand, about],
  [forgetWorkCommand, about],
  [listTreeCommand, { ...ofWorkload, access, snapshotId, path: '/', after: null, limit: 1 }],
  [handExitCommand, { ...ofWorkload, exitId: ID, access, until: '2026-11-20T08:00:00.000Z' }],
] as const;

/** As a newer site would send it: a field more in each object. */
function fromNewer(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(fromNewer);
  if (typeof value !== 'object' || value === null) return value;
  const fields = Object.entries(value).map(([name, field]) => [name, fromNewer(field)]);
  return { ...(Object.fromEntries(fields) as object), ofLater: true };
}

test('an agent that is older than its site ignores what it does not know of a command, wherever it stands', () => {
  for (const [{ input, path }, sent] of commands) expect(input.parse(fromNewer(sent)), path).toEqual(sent);
});

test('but a work of a kind that it does not know it refuses', () => {
  const work = { kind: 'later' };
  expect(beginWorkCommand.input.safeParse({ ...about, access, work }).success).toBe(false);
});
