import { randomUUID } from 'node:crypto';
import http from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { waitFor } from '#libs/platform/clock';
import { LinkedPeerSites, PEER_CALLER_HEADER, SiteSettings } from '#libs/sites/site';
import { LinkUnderTest } from './testing/link-under-test.js';

const answer = z.object({ path: z.string(), caller: z.string() });
const commandAt = (path: string) => ({ path, input: z.object({ workloadId: z.string() }), output: answer });
const workloadId = randomUUID();
let first: LinkUnderTest;
let keeper: LinkUnderTest;
let site: http.Server;
let peers: LinkedPeerSites;

const ask = (path: string, about = workloadId) =>
  peers.call(
    { peer: keeper.asPeer(), workloadId: about },
    commandAt(path),
    { workloadId: about },
    { timeoutMs: 5_000 },
  );

beforeAll(async () => {
  [first, keeper] = await Promise.all([LinkUnderTest.prepare(), LinkUnderTest.prepare()]);
  // The keeper's site process: says what has reached it.
  site = http.createServer((request, response) => {
    request.resume();
    const said = { path: request.url, caller: request.headers[PEER_CALLER_HEADER] };
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(said));
  });
  await new Promise<void>((resolve) => site.listen(keeper.settings.siteSocket, resolve));
  await Promise.all([first.start(), keeper.start()]);
  peers = new LinkedPeerSites(new SiteSettings(first.settings));
});
afterAll(async () => {
  await Promise.all([first.close(), keeper.close()]);
  site.close();
});

test('a site comes in about the archive whose second copy is kept here, and about nothing else', async () => {
  await expect(ask('/v1/peer/archive/copy-access')).rejects.toMatchObject({ code: 'peer-site.unreachable' });
  const archiveId = randomUUID();
  await keeper.sql(`INSERT INTO vault_repository (repository_id, tenant_id, minimum_age_seconds) VALUES ($1, $1, 0)`, [
    archiveId,
  ]);
  await keeper.sql(
    `INSERT INTO archive_kept_copy (archive_id, tenant_id, workload_id, first) VALUES ($1, $1, $2, $3)`,
    [archiveId, workloadId, JSON.stringify(first.asPeer())],
  );
  const said = await waitFor('the keeper to know', () => ask('/v1/peer/archive/copy-access'), { timeoutMs: 30_000 });
  expect(said).toEqual({
    path: '/v1/peer/archive/copy-access',
    caller: JSON.stringify({ siteId: first.siteId, workloadId }),
  });
  await expect(ask('/v1/peer/backup/begin')).rejects.toMatchObject({ code: 'workload.not-found' });
  await expect(ask('/v1/peer/archive/copy-access', randomUUID())).rejects.toMatchObject({ code: 'workload.not-found' });
});
