import { randomUUID } from 'node:crypto';
import { CreateBucketCommand, HeadObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { S3Server } from './testing/s3-server.js';
import { S3Storage } from './s3-storage.js';
import { storageContract } from './storage.contract.js';

let server: S3Server;
let client: S3Client;

const started = (async () => {
  server = await S3Server.start();
  client = server.client();
})();
beforeAll(() => started);
afterAll(() => server.stop());

async function bucket(locked = false): Promise<string> {
  const Bucket = `vault-${randomUUID()}`;
  await client.send(new CreateBucketCommand({ Bucket, ObjectLockEnabledForBucket: locked }));
  return Bucket;
}

storageContract('S3', async () => {
  await started;
  const place = { client, bucket: await bucket(), prefix: 'mainstay/', lockSeconds: null };
  return { storage: new S3Storage(place), reopen: () => new S3Storage(place), clean: async () => undefined };
});

test('where the bucket has Object Lock, all but locks are locked from their receipt on', async () => {
  const name = await bucket(true);
  const storage = new S3Storage({ client, bucket: name, prefix: '', lockSeconds: 86_400 });
  const repository = randomUUID();
  const store = async (type: 'snapshots' | 'locks', id: string) => {
    const incoming = await storage.incoming(repository, { type, id });
    await incoming.write([Buffer.from('x')]);
    await incoming.commit();
  };
  const [snapshot, lock] = ['a'.repeat(64), 'b'.repeat(64)];
  await store('snapshots', snapshot);
  await store('locks', lock);
  const head = (Key: string) => client.send(new HeadObjectCommand({ Bucket: name, Key }));
  const locked = await head(`${repository}/snapshots/${snapshot}`);
  expect(locked.ObjectLockMode).toBe('COMPLIANCE');
  expect(locked.ObjectLockRetainUntilDate?.getTime()).toBeGreaterThan(Date.now() + 86_000_000);
  expect((await head(`${repository}/locks/${lock}`)).ObjectLockMode).toBeUndefined();
});
