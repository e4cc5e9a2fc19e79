import { randomBytes } from 'node:crypto';
import { deflateRawSync, gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { keeps, promisedBy } from './signatures.js';

const kept = (name: string, content: Buffer | string) => {
  const head = Buffer.from(content);
  const promised = promisedBy(name, head.length);
  return promised && keeps(promised, head);
};
const page = 'A permit, granted to Elm Street 7. Ä, ü. '.repeat(100);

test('a file begins as its name promises, whoever wrote it', () => {
  expect(kept('/a/plan.PDF', `${'\0'.repeat(500)}%PDF-1.4\n`)).toBe(true);
  expect(kept('/a/plan.docx', 'PK\x03\x04')).toBe(true);
  // With a password.
  expect(kept('/a/plan.docx', Buffer.from('d0cf11e0a1b11ae1', 'hex'))).toBe(true);
  expect(kept('/a/letter.doc', '{\\rtf1')).toBe(true);
  expect(kept('/a/photo.jpeg', Buffer.from('ffd8ffe0', 'hex'))).toBe(true);
  expect(kept('/a/film.mp4', '\0\0\0\x20ftypisom')).toBe(true);
  expect(kept('/a/big.tif', 'MM\0+')).toBe(true);
  expect(kept('/a/old.sql.gz', gzipSync(page))).toBe(true);
  expect(kept('/a/permits.accdb', '\0\x01\0\0Standard ACE DB\0')).toBe(true);
});

test('encrypted bytes do not, under any of these names', () => {
  for (const extension of 'pdf docx zip odt xls doc jpg png gif tif gz 7z mp4 sqlite mdb pst dwg csv sql xml json html'.split(
    ' ',
  )) {
    expect([extension, kept(`/a/b.${extension}`, randomBytes(65_536))]).toEqual([extension, false]);
  }
  expect(kept('/a/b.txt', randomBytes(1_024))).toBe(false);
  expect(kept('/a/b.txt', deflateRawSync(randomBytes(5_000)))).toBe(false);
});

test('text is text in any encoding, cut anywhere', () => {
  for (const encoding of ['utf8', 'latin1', 'utf16le'] as const)
    expect(kept('/a/b.txt', Buffer.from(page, encoding).subarray(0, 2_001))).toBe(true);
  const chinese = Array.from({ length: 20_000 }, (_, at) => String.fromCharCode(0x4e00 + ((at * 7_919) % 3_000))).join(
    '',
  );
  expect(kept('/a/b.csv', Buffer.from(chinese, 'utf16le'))).toBe(true);
});

test('nothing is said of what promises nothing, and of what is too short', () => {
  for (const name of ['/a/b', '/a/.pdf', '/a/b.dmp', '/a/b.pdf.locked', '/a.pdf/b'])
    expect(promisedBy(name, 9_999)).toBeUndefined();
  expect(promisedBy('/a/b.pdf', 0)).toBeUndefined();
  expect(promisedBy('/a/b.txt', 1_023)).toBeUndefined();
});
