import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Writable } from 'node:stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ResticCall, runRestic } from './restic-process.js';

let home: string;
beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-restic-process-'));
});
afterAll(() => rm(home, { recursive: true, force: true }));

/** Says something, and takes its time to end. */
const LINGERS = 'trap "sleep 0.3; echo gone >\\"$0\\"; exit 1" TERM; while :; do echo \\{\\}; sleep 0.05; done';

test.each<[string, Pick<ResticCall, 'stdoutTo' | 'onLine'>]>([
  [
    'where its output goes',
    { stdoutTo: new Writable({ write: (_chunk, _encoding, done) => done(new Error('the disk is full')) }) },
  ],
  [
    'who listens to it',
    {
      onLine: () => {
        throw new Error('the disk is full');
      },
    },
  ],
])('it is gone before the caller goes on, also when %s fails', async (name, call) => {
  const trace = path.join(home, name.replaceAll(' ', '-'));
  const around = { identity: undefined, cwd: home, environment: {}, secrets: [], signal: AbortSignal.timeout(60_000) };
  await expect(runRestic('/bin/sh', ['-c', LINGERS, trace], { ...around, ...call })).rejects.toThrow(
    'the disk is full',
  );
  expect(await readFile(trace, 'utf8')).toBe('gone\n');
});
