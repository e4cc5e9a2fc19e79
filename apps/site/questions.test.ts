import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { askFile, askTree } from '#contracts/archive';
import { createAuthority, issueCertificate } from '#libs/link';
import { QuestionHandlerMismatchError } from '#libs/sites/site';
import { siteDomains } from './domains.js';
import { SiteUnderTest } from './testing/site-under-test.js';

let site: SiteUnderTest;
beforeAll(async () => {
  site = await SiteUnderTest.start();
  await site.stop();
  await site.start(siteDomains({ archive: site.archive }));
});
afterAll(() => site?.close());

const tree = () => ({
  kind: askTree.kind,
  tenantId: site.tenantId,
  payload: {
    archiveId: randomUUID(),
    workloadId: randomUUID(),
    snapshotId: 'a'.repeat(64),
    path: '/',
    after: null,
    limit: 10,
  },
});

it('404: says of an archive that is not there what it says of another agency’s', async () => {
  const answer = await site.ask('POST', '/v1/questions', tree());
  expect(answer).toMatchObject({ status: 404, body: { code: 'recovery-point.not-found' } });
});

it('400: a question that it does not know, or cannot read', async () => {
  const wrong = [
    { ...tree(), kind: 'archive.guess' },
    { ...tree(), tenantId: 'nobody' },
    { ...tree(), payload: { ...tree().payload, path: '/../etc' } },
    { ...tree(), kind: askFile.kind },
    null,
  ];
  for (const question of wrong) {
    const answer = await site.ask('POST', '/v1/questions', question);
    expect(answer).toMatchObject({ status: 400, body: { code: 'question.malformed' } });
  }
});

it('asks nobody in who is not the control plane', async () => {
  const stranger = await issueCertificate(await createAuthority('another'), {
    commonName: 'control',
    usages: ['client'],
  });
  await expect(site.ask('POST', '/v1/questions', tree(), stranger)).rejects.toThrow();
});

it('does not start when nobody answers a question', async () => {
  await site.stop();
  const domains = siteDomains({ archive: null });
  await expect(site.start({ ...domains, questions: [askTree] as never })).rejects.toBeInstanceOf(
    QuestionHandlerMismatchError,
  );
});
