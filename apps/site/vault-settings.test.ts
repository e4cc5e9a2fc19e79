import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { CreateBucketCommand, ListObjectsV2Command, type S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import {
  archiveResult,
  beginWorkCommand,
  ensureArchiveOrder,
  restoreOrder,
  restoreResult,
  runResult,
} from '#contracts/archive';
import { freePort } from '#libs/platform/postgres';
import { policyOf, TestTunnel } from '#test/archive-site';
import { AgentUnderTest } from '#test/archiving-agent';
import { S3Server } from '../../libs/archive/site/vault/testing/s3-server.js';
import { SiteGround, SiteProgram } from './testing/site-program.js';

// Three ends are waited for, on a machine that may have much else to do.
vi.setConfig({ testTimeout: 180_000 });
// The program itself, with a bucket and a certificate of the town's: what its environment says reaches the vault.
const NAME = 'share';
const Bucket = 'town';
const PREFIX = 'mainstay/';
let ground: SiteGround;
let storage: S3Server;
let client: S3Client;
let tunnel: TestTunnel;
let agent: AgentUnderTest;
let site: SiteProgram;
/** What the site told the agent of the vault's authority, each time. */
const authorities: (string | null)[] = [];

beforeAll(async () => {
  [ground, storage] = await Promise.all([SiteGround.lay(), S3Server.start()]);
  client = storage.client();
  await client.send(new CreateBucketCommand({ Bucket }));
  const { protocol, hostname, port } = await client.config.endpoint!();
  const { certificate, privateKey } = await ground.certificate('vault', 'server');
  tunnel = new TestTunnel(ground.at('link.sock'));
  await tunnel.listen();
  await mkdir(ground.at('share'));
  agent = await AgentUnderTest.start([{ name: NAME, kind: 'files', paths: [ground.at('share')] }], {
    restoreTo: [ground.folder],
  });
  const carryOut = agent.carryOut.bind(agent);
  agent.carryOut = (command, body) => {
    if (command !== beginWorkCommand.path) return carryOut(command, body);
    const begin = beginWorkCommand.input.parse(body);
    authorities.push(begin.access.authority);
    // As on a machine of the agency's, which trusts that authority anyway: this one does not.
    return carryOut(command, { ...begin, access: { ...begin.access, authority: ground.authority.certificate } });
  };
  site = await SiteProgram.start(ground, {
    VAULT_PORT: String(await freePort()),
    VAULT_TLS_CERT_FILE: await ground.file('vault.pem', certificate),
    VAULT_TLS_KEY_FILE: await ground.file('vault.key', privateKey),
    VAULT_STORAGE: 's3',
    VAULT_S3_ENDPOINT: `${protocol}//${hostname}:${port}`,
    VAULT_S3_BUCKET: Bucket,
    VAULT_S3_PREFIX: PREFIX,
    VAULT_S3_ACCESS_KEY_FILE: await ground.file('access', 'test'),
    VAULT_S3_SECRET_KEY_FILE: await ground.file('secret', 'test'),
  });
});
afterAll(async () => {
  await site?.stop();
  await agent?.remove();
  await tunnel?.close();
  await storage?.stop();
  await ground?.remove();
});

test('a share goes into the bucket, by the certificate that was given, and comes back from there', async () => {
  const permit = randomBytes(2 ** 20);
  await writeFile(ground.at('share/permit'), permit);
  const known = { archiveId: randomUUID() as string, workloadId: randomUUID() as string };
  await site.order(ensureArchiveOrder, {
    ...known,
    agentId: tunnel.connect(agent),
    workloadName: NAME,
    source: 'files',
    keyMode: 'escrowed',
    policy: policyOf(),
    paused: false,
    second: null,
  });
  await site.told(archiveResult, ({ state }) => state === 'active');
  const run = await site.told(runResult, ({ endedAt }) => endedAt !== null);
  expect(run).toMatchObject({ state: 'completed', failure: null });
  const [snapshotId = ''] = run.snapshotIds;

  await rm(ground.at('share/permit'));
  const restoreId = randomUUID();
  await site.order(restoreOrder, {
    ...known,
    restoreId,
    snapshotId,
    paths: [],
    target: { kind: 'original' },
    overwrite: 'never',
  });
  const restore = await site.told(restoreResult, (each) => each.restoreId === restoreId && each.endedAt !== null);
  expect(restore).toMatchObject({ state: 'completed', failure: null });
  expect((await readFile(ground.at('share/permit'))).equals(permit)).toBe(true);

  // Agents are given no authority of the vault's own, and nothing lies on the site's disk.
  expect(authorities).toEqual([null, null]);
  const { Contents = [] } = await client.send(
    new ListObjectsV2Command({ Bucket, Prefix: `${PREFIX}${known.archiveId}/` }),
  );
  const keys = Contents.map(({ Key }) => Key);
  expect(keys).toContain(`${PREFIX}${known.archiveId}/snapshots/${snapshotId}`);
  expect(keys.some((key) => key?.includes('/data/'))).toBe(true);
  expect(await readdir(ground.at('site/archive/vault')).catch(() => [])).toEqual([]);
});
