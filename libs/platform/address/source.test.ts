import { expect, test } from 'vitest';
import { plainAddress, sourceOf } from './source.js';

test('limits count an IPv4 address, and the /64 of an IPv6 one however it is written', () => {
  expect(sourceOf('192.0.2.7')).toBe('192.0.2.7');
  expect(sourceOf('::ffff:192.0.2.7')).toBe('192.0.2.7');
  expect(sourceOf('::ffff:c000:207')).toBe('192.0.2.7');
  expect(sourceOf('2001:db8:0:1::5')).toBe('2001:db8:0:1::/64');
  expect(sourceOf('2001:db8:0:1:ffff:ffff:ffff:ffff')).toBe(sourceOf('2001:0db8::1:0:0:0:9'));
  expect(sourceOf('2001:db8:0:2::5')).not.toBe(sourceOf('2001:db8:0:1::5'));
  expect(sourceOf('fe80::1%eth0')).toBe('fe80:0:0:0::/64');
  expect(sourceOf('::1')).toBe('0:0:0:0::/64');
});

test('an address is written plainly: no IPv6 clothes, no zone', () => {
  expect(plainAddress('192.0.2.7')).toBe('192.0.2.7');
  expect(plainAddress('::FFFF:192.0.2.7')).toBe('192.0.2.7');
  expect(plainAddress('::ffff:c000:207')).toBe('192.0.2.7');
  expect(plainAddress('2001:db8::5')).toBe('2001:db8::5');
  expect(plainAddress('fe80::1%eth0')).toBe('fe80::1');
  expect(plainAddress('')).toBe('');
});
