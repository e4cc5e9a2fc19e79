import { randomBytes, randomUUID } from 'node:crypto';
import http from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { Scraped } from '#test/scrape';
import { basic, idOf, VaultUnderTest } from './testing/vault-under-test.js';

const SOON = { timeoutMs: 20_000, everyMs: 10 };
let vault: VaultUnderTest;
beforeAll(async () => {
  vault = await VaultUnderTest.start();
  await vault.metrics.open();
});
afterAll(() => vault?.stop());

const scrape = async (): Promise<Scraped> => new Scraped((await vault.metrics.scrape()).text);
/** The answer is with the client before the vault has counted it. */
const counted = (status: string, value: number): Promise<Scraped> =>
  waitFor(
    `${value} requests that ended with ${status}`,
    async () => {
      const scraped = await scrape();
      const labels = { from: 'outside', status };
      return scraped.value('mainstay_vault_requests_total', labels) === value && scraped;
    },
    SOON,
  );

test('requests by how they ended, bytes either way, and what was refused can be scraped', async () => {
  const { id, as, of } = await vault.opened('append');
  const body = randomBytes(300_000);
  const name = of(`data/${idOf(body)}`);
  expect(await vault.status('POST', name, { as, body })).toBe(200);
  expect(await vault.status('GET', name, { as })).toBe(200);
  expect(await vault.status('GET', name, { as })).toBe(200);
  expect(await vault.status('DELETE', name, { as })).toBe(403);
  expect(await vault.status('GET', `/${randomUUID()}/data/${idOf(body)}`, { as })).toBe(401);
  await counted('2xx', 4);
  const scraped = await counted('4xx', 2);
  const moved = (direction: string) =>
    scraped.value('mainstay_vault_bytes_total', { from: 'outside', direction }) ?? NaN;
  expect(moved('received') - body.length).toBeGreaterThan(0);
  expect(moved('received') - body.length).toBeLessThan(10_000);
  expect(moved('sent') - 2 * body.length).toBeGreaterThan(0);
  expect(moved('sent') - 2 * body.length).toBeLessThan(10_000);
  expect(scraped.value('mainstay_vault_refusals_total', { kind: 'removal' })).toBe(1);
  for (const secret of [id, as.credentialId, as.secret]) expect(scraped.text).not.toContain(secret);
});

test('an upload that its client cuts is counted as broken off', async () => {
  const { as, of } = await vault.opened('append');
  const body = randomBytes(200_000);
  const request = http.request({
    host: '127.0.0.1',
    port: vault.service.port,
    method: 'POST',
    path: of(`data/${idOf(body)}`),
    agent: false,
    headers: { authorization: basic(as), 'content-length': body.length },
  });
  request.on('error', () => undefined);
  await new Promise((resolve) => request.write(body.subarray(0, 100_000), resolve));
  request.destroy();
  await counted('broken-off', 1);
});
