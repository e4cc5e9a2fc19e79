import { execFile } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { VAULT_AUTHORITY } from '../archive-settings.js';
import { VaultRepositories } from '../index.js';
import { CareUnderTest } from '../testing/care-under-test.js';
import { VaultService } from '../vault/vault.module.js';
import { RepositoryKeys } from './repository-keys.js';

const run = promisify(execFile);
const signal = new AbortController().signal;
/** restic tries so many keys, and gives up at the first that is none. */
const JUNK = 25;
let site: CareUnderTest;

beforeAll(async () => {
  site = await CareUnderTest.start();
});
afterAll(() => site?.stop());

test('junk that a thief adds to the keys locks the site out of nothing, and a rotation takes it away', async () => {
  const archiveId = await site.archive();
  const [first] = await site.objects(archiveId, 'keys');
  await site.rows(`UPDATE archive_key SET restic_key = $2 WHERE archive_id = $1`, [archiveId, first?.id]);
  const { credentialId, secret } = await site.get(VaultRepositories).issue(archiveId, 'append');
  const authority = path.join(site.directory, 'authority.pem');
  await writeFile(authority, site.get<string>(VAULT_AUTHORITY as never));
  for (let number = 0; number < JUNK; number += 1) {
    const junk = `junk ${number}`;
    const id = createHash('sha256').update(junk).digest('hex');
    const url = `https://127.0.0.1:${site.get(VaultService).port}/${archiveId}/keys/${id}`;
    const post = ['--fail', '-s', '--cacert', authority, '-u', `${credentialId}:${secret}`, '--data-binary', junk, url];
    await run('curl', post);
  }
  const only = await site.backup(archiveId, await site.folder({ file: 'a permit' }));
  await site.restic(archiveId, 'cat', 'snapshot', only, '--no-lock');
  await site.get(RepositoryKeys).rotate(archiveId, randomUUID(), signal);
  expect(await site.objects(archiveId, 'keys')).toHaveLength(2);
  await site.check(archiveId);
});
