import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CreateKeyCommand, type KMSClient } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ArchiveSite, type KnownArchive } from '#test/archive-site';
import { AgentUnderTest } from '#test/archiving-agent';
import { S3Server } from '../vault/testing/s3-server.js';
import { ArchiveKeys } from './archive-keys.js';
import { KmsKeyEncryption } from './kms-key-encryption.js';

let cloud: S3Server;
let client: KMSClient;
let site: ArchiveSite;
let agent: AgentUnderTest;
let archive: KnownArchive;
let home: string;

const freshKey = async (): Promise<string> => {
  const { KeyMetadata } = await client.send(new CreateKeyCommand({}));
  return KeyMetadata!.KeyId!;
};
const sealers = async () =>
  (await site.rows<{ by: string }>(`SELECT DISTINCT sealed_by AS by FROM archive_key WHERE retired_at IS NULL`)).map(
    ({ by }) => by,
  );
const again = async (changes: Parameters<ArchiveSite['run']>[1]) => {
  await site.stop();
  await site.run(true, changes);
};

beforeAll(async () => {
  cloud = await S3Server.start();
  client = cloud.keyService();
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-key-service-'));
  const share = path.join(home, 'share.txt');
  await writeFile(share, 'a permit');
  agent = await AgentUnderTest.start([{ name: 'share', kind: 'files', paths: [share] }]);
  site = await ArchiveSite.start();
  archive = await site.archive(site.tunnel.connect(agent), 'share', { paused: true });
});
afterAll(async () => {
  await site?.close();
  await agent?.remove();
  await cloud?.stop();
  await rm(home, { recursive: true, force: true });
});

test('what is sealed for one archive opens for no other, and never without the service', async () => {
  const encryption = new KmsKeyEncryption(client, await freshKey());
  const sealed = await encryption.seal(Buffer.from('a password'), 'archive/one');
  expect(sealed.includes('a password')).toBe(false);
  expect((await encryption.open(sealed, 'archive/one', encryption.id)).toString()).toBe('a password');
  const refusal = { code: 'archive.key-unavailable', kind: 'unavailable' };
  await expect(encryption.open(sealed, 'archive/two', encryption.id)).rejects.toMatchObject(refusal);
  const none = new KmsKeyEncryption(client, '00000000-0000-0000-0000-000000000000');
  await expect(none.seal(Buffer.from('a password'), 'archive/one')).rejects.toMatchObject(refusal);
});

test('passwords move from a file to a key service, to its next key, and back, and open all the while', async () => {
  const [file] = await sealers();
  const [first, second] = [await freshKey(), await freshKey()];
  await again({ serviceKey: { client, key: first, seals: true } });
  expect(await sealers()).toEqual([`kms:${first}`]);
  await rm(path.join(site.home.directory, 'archive', 'kek'));
  await again({ serviceKey: { client, key: second, seals: true } });
  expect(await sealers()).toEqual([`kms:${second}`]);
  expect(await site.ended(await site.request(archive))).toMatchObject({ state: 'completed' });
  await again({ serviceKey: { client, key: second, seals: false } });
  const [back, ...others] = await sealers();
  expect(others).toEqual([]);
  expect(back).toMatch(/^local-/);
  expect(back).not.toBe(file);
  await again({});
  expect(await site.ended(await site.request(archive))).toMatchObject({ state: 'completed' });
});

test('what a lost key has sealed keeps nothing else from being sealed anew, and is no use of a password', async () => {
  const { archiveId } = archive;
  await site.rows(
    `INSERT INTO archive_key (archive_id, key_id, holder, sealed, sealed_by) VALUES ($1, $2, 'agent', 'x', 'local-lost')`,
    [archiveId, randomUUID()],
  );
  const uses = async () => (await site.rows(`SELECT FROM archive_key_use WHERE purpose LIKE 'sealing it%'`)).length;
  const [before, next] = [await uses(), await freshKey()];
  await again({ serviceKey: { client, key: next, seals: true } });
  expect((await sealers()).sort()).toEqual([`kms:${next}`, 'local-lost']);
  // The site's and the agent's.
  expect(await uses()).toBe(before + 2);
  await expect(site.get(ArchiveKeys).sealAnew()).rejects.toThrow('local-lost');
  await site.rows(`DELETE FROM archive_key WHERE sealed_by = 'local-lost'`);
});

test('passwords that do not open keep no other from being sealed anew, and are named with the reason', async () => {
  const [present] = await sealers();
  const damaged = ['0', 'f'].map((digit) => digit.repeat(8) + randomUUID().slice(8));
  for (const keyId of damaged) {
    await site.rows(
      `INSERT INTO archive_key (archive_id, key_id, holder, sealed, sealed_by) VALUES ($1, $2, 'agent', 'x', $3)`,
      [archive.archiveId, keyId, present],
    );
  }
  const next = await freshKey();
  await again({ serviceKey: { client, key: next, seals: true } });
  const left = await site.rows<{ keyId: string }>(
    `SELECT key_id AS "keyId" FROM archive_key WHERE sealed_by <> $1 AND retired_at IS NULL ORDER BY key_id`,
    [`kms:${next}`],
  );
  expect(left.map(({ keyId }) => keyId)).toEqual(damaged);
  const why = `archive/${archive.archiveId}/agent/.*: the key service does not let ${present?.slice(4)} be used`;
  await expect(site.get(ArchiveKeys).sealAnew()).rejects.toThrow(
    new RegExp(damaged.map((keyId) => why.replace('.*', keyId)).join('.*; ')),
  );
  await site.rows(`DELETE FROM archive_key WHERE key_id = ANY ($1::uuid[])`, [damaged]);
});

test('while the service is away nothing opens, and a use that was tried is on record', async () => {
  await again({ serviceKey: { client, key: await freshKey(), seals: true } });
  await cloud.stop();
  const opening = site.get(ArchiveKeys).open(archive.archiveId, 'site', 'a use in vain');
  await expect(opening).rejects.toMatchObject({ code: 'archive.key-unavailable', kind: 'unavailable' });
  expect(await site.rows(`SELECT FROM archive_key_use WHERE purpose = 'a use in vain'`)).toHaveLength(1);
});
