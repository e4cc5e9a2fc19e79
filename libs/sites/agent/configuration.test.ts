import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { postgresWorkloads, readConfiguration } from './configuration.js';
import { StateDirectory } from './state-directory.js';

let home: string;
const server = { name: 'permits', dataDirectory: '/var/lib/postgresql/15/main' };
const files = { name: 'share', kind: 'files', paths: ['/srv//share/'] };
const payroll = { name: 'payroll', kind: 'command', command: ['/usr/bin/dump', '-x'], fileName: 'payroll.dmp' };

async function read(value: unknown) {
  await writeFile(path.join(home, 'agent.json'), JSON.stringify(value));
  return readConfiguration(new StateDirectory(home));
}

beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-configuration-'));
});
afterAll(() => rm(home, { recursive: true, force: true }));

test('servers, folders and programs stand side by side; a server needs no kind, as before', async () => {
  const configuration = await read({ workloads: [server, files, payroll], restoreTo: ['/srv/restored/'] });
  expect(configuration.workloads.map(({ kind }) => kind)).toEqual(['postgresql', 'files', 'command']);
  expect(configuration.workloads[1]).toMatchObject({ paths: ['/srv/share'], excludes: [], oneFileSystem: false });
  expect(configuration.restoreTo).toEqual(['/srv/restored']);
  expect(postgresWorkloads(configuration)).toMatchObject([{ name: 'permits', port: 5432, user: 'postgres' }]);
});

test.each([
  [
    'a name that another kind has',
    [server, { ...files, name: 'permits' }],
    'workloads.1.name: is taken by a workload of the kind postgresql',
  ],
  [
    'a kind that there is not',
    [{ ...files, kind: 'mariadb' }],
    'workloads.0.kind: must be "postgresql", "files" or "command"',
  ],
  ['nothing to archive', [{ ...files, paths: [] }], 'workloads.0.paths'],
  ['a path that climbs', [{ ...files, paths: ['/srv/../etc'] }], 'workloads.0.paths.0: must not climb'],
  ['a path of nowhere', [{ ...files, paths: ['share'] }], 'workloads.0.paths.0: must be an absolute path'],
  [
    'a program found by chance',
    [{ ...payroll, command: ['dump'] }],
    'workloads.0.command: must begin with the absolute path',
  ],
  ['a file name with a folder', [{ ...payroll, fileName: '../x' }], 'workloads.0.fileName: must be a plain file name'],
  ['a setting of another kind', [{ ...files, dataDirectory: '/x' }], 'workloads.0'],
])('a fault is named: %s', async (_, workloads, message) => {
  await expect(read({ workloads })).rejects.toThrow(message);
});
