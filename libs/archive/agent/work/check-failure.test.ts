import { serialize } from 'node:v8';
import { expect, test } from 'vitest';
import { CheckFindings } from './check-failure.js';

const PACK = 'ab'.repeat(32);
const over = { code: 1, words: ['Fatal: repository contains errors'] };
function findings(errors: string[], packs: string[] = []): CheckFindings {
  const all = new CheckFindings();
  for (const error of errors) all.add(error);
  all.addPacks(packs);
  return all;
}
const codeOf = (errors: string[], end = over) => findings(errors).failure(end).code;

test('a vault that does not answer in the midst of a check is no finding; one finding beside it is', () => {
  const refused = `Load(<data/${PACK.slice(0, 10)}>, 0, 0) failed: dial tcp 10.0.0.1:443: connect: connection refused`;
  expect(codeOf([refused, refused])).toBe('archive.vault-unreachable');
  expect(codeOf([refused, `pack ${PACK}: does not exist`])).toBe('archive.check-failed');
  expect(codeOf([], { code: 1, words: ['Fatal: unexpected HTTP response (503): 503 Service Unavailable'] })).toBe(
    'archive.vault-busy',
  );
  expect(codeOf([], { code: 11, words: ['unable to create lock'] })).toBe('archive.repository-locked');
});

test('the names of files are no words of a vault, and what restic cannot explain is a finding', () => {
  expect(codeOf(['error for tree 1234: file "connection refused x509" blob 2 is missing'])).toBe(
    'archive.check-failed',
  );
  expect(codeOf([`pack ${PACK}: unexpected EOF`])).toBe('archive.check-failed');
  expect(codeOf([])).toBe('archive.check-failed');
});

test('each pack is named, however much else was said', () => {
  const message = findings(['x'.repeat(3_000), `pack ${PACK}: does not exist`], ['cd'.repeat(32)]).failure(
    over,
  ).message;
  expect(message.slice(0, 2_000)).toContain(`pack ${PACK}`);
  expect(message.slice(0, 2_000)).toContain(`pack ${'cd'.repeat(32)}`);
});

test('of a repository that is damaged all over, no more is kept than is told', () => {
  const idOf = (n: number) => n.toString(16).padStart(64, '0');
  const refused = `Load(<data/${PACK.slice(0, 10)}>, 0, 0) failed: connection refused ${'x'.repeat(5_000)}`;
  const all = findings([refused, ...Array.from({ length: 20_000 }, (_, n) => `pack ${idOf(n)}: does not exist`)]);
  all.addPacks(Array.from({ length: 20_000 }, (_, n) => idOf(n + 30_000)));
  expect(serialize(all).byteLength).toBeLessThan(20_000);
  const { code, message } = all.failure(over);
  expect(code).toBe('archive.check-failed');
  expect(message.split(/pack [0-9a-f]{64}(?!:)/)).toHaveLength(13);
  expect(message).toContain(`found faults: pack ${idOf(0)}`);
  expect(message.endsWith(`pack ${idOf(19_999)}: does not exist ${over.words[0]}`)).toBe(true);
});
