import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { expect, onTestFinished, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { ChaosProxy } from '#test/chaos-proxy';
import { WorkloadRefusedError } from './errors.js';
import { createIdentity } from './keys.js';
import { PeerDialer } from './peer-dialer.js';
import { connectTcp } from './tcp.js';
import { FAST, SOON, startEcho, startSite } from './test-links.js';

const shared = randomUUID();

async function twoSites() {
  const port = await startEcho();
  const site = await startSite({
    peers: {
      connectWorkload: async (workloadId, peerSiteId) => {
        if (workloadId !== shared || !site.known.has(peerSiteId)) throw new WorkloadRefusedError(workloadId);
        return connectTcp({ host: '127.0.0.1', port });
      },
      request: async (request, peerSiteId) =>
        request.path === '/v1/wal'
          ? { stream: Readable.from([Buffer.alloc(1_000_000)]) }
          : { json: { path: request.path, peerSiteId, got: await request.json() } },
    },
  });
  const proxy = new ChaosProxy(site);
  const identity = createIdentity();
  const siteId = randomUUID();
  site.known.set(siteId, identity.publicKey);
  const { certificateFingerprint } = site;
  const peer = { host: '127.0.0.1', port: await proxy.listen(), certificateFingerprint };
  const dialer = new PeerDialer({ siteId, identity, version: 'test', peer, timings: { ...FAST, handshake: 1_000 } });
  onTestFinished(() => dialer.close());
  onTestFinished(() => proxy.close());
  return { site, proxy, dialer, siteId };
}

test('a site commands its peer and reaches the standby of a shared workload, and of no other', async () => {
  const { dialer, siteId } = await twoSites();
  expect(await dialer.request('/v1/compare', { lsn: '0/1' })).toEqual({
    path: '/v1/compare',
    peerSiteId: siteId,
    got: { lsn: '0/1' },
  });
  const stream = await dialer.open(shared);
  stream.write('ping');
  expect(String((await once(stream, 'data'))[0])).toBe('ping');
  const ended = once(stream, 'end');
  stream.end();
  await ended;
  const wal = await dialer.requestStream('/v1/wal', {});
  expect((await wal.body.toArray()).reduce((sum: number, chunk: Buffer) => sum + chunk.length, 0)).toBe(1_000_000);
  await expect(dialer.open(randomUUID())).rejects.toMatchObject({ code: 'link.workload-refused' });
});

test('a peer link that broke or went silent is dialled again by the next need of it', async () => {
  const { dialer, proxy } = await twoSites();
  const stream = (await dialer.open(shared)).on('error', () => undefined).resume();
  const again = () => waitFor('the peer', () => dialer.request('/v1/x', {}, { timeoutMs: 500 }), SOON);
  proxy.cut();
  await waitFor('the connection to end', () => stream.destroyed, SOON);
  await again();
  const second = (await dialer.open(shared)).on('error', () => undefined).resume();
  proxy.stall();
  await waitFor('the connection to end', () => second.destroyed, SOON);
  proxy.resume();
  await again();
});

test('a peer that is revoked is cut, and refused from then on', async () => {
  const { dialer, site, siteId } = await twoSites();
  const stream = (await dialer.open(shared)).on('error', () => undefined).resume();
  site.known.delete(siteId);
  expect(site.gateway.revokePeer(siteId)).toBe(1);
  await waitFor('the connection to end', () => stream.destroyed, SOON);
  const refused = () =>
    dialer.request('/v1/x', {}).then(
      () => undefined,
      (error: { code: string }) => error.code,
    );
  await waitFor('the refusal', async () => (await refused()) === 'link.unknown', SOON);
});
