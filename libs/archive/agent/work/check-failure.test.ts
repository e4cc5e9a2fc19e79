import { expect, test } from 'vitest';
import { checkFailure } from './check-failure.js';

const PACK = 'ab'.repeat(32);
const over = { code: 1, words: ['Fatal: repository contains errors'] };
const codeOf = (errors: string[], end = over) => checkFailure(end, errors, []).code;

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
  const message = checkFailure(over, ['x'.repeat(3_000), `pack ${PACK}: does not exist`], ['cd'.repeat(32)]).message;
  expect(message.slice(0, 2_000)).toContain(`pack ${PACK}`);
  expect(message.slice(0, 2_000)).toContain(`pack ${'cd'.repeat(32)}`);
});
