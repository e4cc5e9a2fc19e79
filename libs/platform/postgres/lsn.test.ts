import { expect, test } from 'vitest';
import {
  connectionString,
  formatLsn,
  lsnDifference,
  maxLsn,
  parseLsn,
  redact,
  renderPgpass,
  walSegmentName,
} from './index.js';

test('positions in the write-ahead log', () => {
  expect(formatLsn(parseLsn('16/B374D848'))).toBe('16/B374D848');
  expect(formatLsn(parseLsn('FFFFFFFF/FFFFFFFF'))).toBe('FFFFFFFF/FFFFFFFF');
  expect(lsnDifference('1/0', '0/FFFFFFFF')).toBe(1n);
  expect(maxLsn('0/2', null, '1/0', undefined, '0/FFFFFFFF')).toBe('1/0');
  expect(maxLsn(null)).toBeUndefined();
  expect(() => parseLsn('0/123456789')).toThrow(RangeError);
  expect(() => parseLsn('1/0; DROP')).toThrow(RangeError);
});

test('segment names are those of pg_walfile_name', () => {
  // SELECT pg_walfile_name('16/B374D848') on timeline 1, and with segments of 64 MiB.
  expect(walSegmentName(1, '16/B374D848')).toBe('0000000100000016000000B3');
  expect(walSegmentName(26, '16/B374D848', 64 << 20)).toBe('0000001A000000160000002C');
});

test('connection strings and password files escape what would end a field', () => {
  expect(connectionString({ host: 'a', password: "it's \\", port: 5432, sslmode: undefined })).toBe(
    "host='a' password='it\\'s \\\\' port='5432'",
  );
  expect(renderPgpass([{ host: '::1', port: '*', database: 'replication', user: 'r', password: 'a:b\\c' }])).toBe(
    '\\:\\:1:*:replication:r:a\\:b\\\\c\n',
  );
  expect(() => renderPgpass([{ host: 'h', port: 1, database: 'd', user: 'u', password: 'a\nb' }])).toThrow(RangeError);
});

test('secrets are struck out of what programs say', () => {
  const text = `could not connect to postgres://u:hunter2@h/db: password=hunter2 ALTER ROLE x PASSWORD 'hunter2'`;
  expect(redact(text)).not.toContain('hunter2');
});
