import { randomUUID } from 'node:crypto';
import { CreateBucketCommand, HeadObjectCommand, S3Client, S3ServiceException } from '@aws-sdk/client-s3';
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
    await incoming.write(Buffer.from('x'));
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

test.each([
  ['sent whole', 1_000],
  ['sent in parts', 9 * 2 ** 20],
])('an object that was %s and answered with a conflict counts as stored only where it is there', async (_, bytes) => {
  const contested = server.client();
  // As S3 answers while another operation on the same name, such as its removal, has not ended.
  const conflict = {
    name: 'ConditionalRequestConflict',
    $fault: 'client',
    $metadata: { httpStatusCode: 409 },
  } as const;
  contested.middlewareStack.add((next) => (args) => {
    return 'IfNoneMatch' in args.input ? Promise.reject(new S3ServiceException(conflict)) : next(args);
  });
  const place = { bucket: await bucket(), prefix: '', lockSeconds: null };
  const repository = randomUUID();
  const commit = async (to: S3Client, letter: string) => {
    const storage = new S3Storage({ ...place, client: to });
    const incoming = await storage.incoming(repository, { type: 'data', id: letter.repeat(64) });
    try {
      await incoming.write(Buffer.alloc(bytes));
      return await incoming.commit();
    } finally {
      await incoming.discard();
    }
  };
  expect(await commit(client, 'a')).toBe('stored');
  expect(await commit(contested, 'a')).toBe('exists');
  // The sender tries again.
  await expect(commit(contested, 'b')).rejects.toMatchObject({ status: 503, code: 'vault.conflict' });
});

test('a bucket that is gone is a fault, not a place where nothing is', async () => {
  const storage = new S3Storage({ client, bucket: await bucket(), prefix: '', lockSeconds: null });
  const [repository, name] = [randomUUID(), { type: 'data', id: 'a'.repeat(64) } as const];
  expect(await storage.stat(repository, name)).toBeUndefined();
  const gone = new S3Storage({ client, bucket: `gone-${randomUUID()}`, prefix: '', lockSeconds: null });
  await expect(gone.stat(repository, name)).rejects.toThrow('the bucket gone-');
  await expect(gone.repositoryExists(repository)).rejects.toThrow('the bucket gone-');
  await expect(gone.read(repository, name)).rejects.toMatchObject({ name: 'NoSuchBucket' });
  await expect(gone.layAside(repository, name, new Date())).rejects.toMatchObject({ name: 'NoSuchBucket' });
});

test('an object whose answer was lost, and that was sent once more by itself, is stored by that upload and no other', async () => {
  const losing = server.client();
  let lost = 0;
  losing.middlewareStack.add(
    (next) => async (args) => {
      const answer = await next(args);
      if ('IfNoneMatch' in args.input && lost === 0) {
        lost += 1;
        throw Object.assign(new Error('the line broke'), { name: 'TimeoutError' });
      }
      return answer;
    },
    { step: 'deserialize', priority: 'high' },
  );
  const place = { bucket: await bucket(), prefix: '', lockSeconds: null };
  const commit = async (to: S3Client) => {
    const storage = new S3Storage({ ...place, client: to });
    const incoming = await storage.incoming('repository', { type: 'data', id: 'a'.repeat(64) });
    await incoming.write(Buffer.alloc(1_000));
    return incoming.commit();
  };
  expect(await commit(losing)).toBe('stored');
  expect(lost).toBe(1);
  expect(await commit(client)).toBe('exists');
});
