import { expect, test } from 'vitest';
import { atMost, facts, storable, text } from './bounds.js';

test('a text is cut where it is too long, and keeps nothing that a database refuses', () => {
  expect(text(10).parse('as it is')).toBe('as it is');
  expect(text(10).parse('far too long a text')).toBe('far too l…');
  expect(text(10).parse('a\0b\ud800')).toBe('a\uFFFDb\uFFFD');
  // A pair is not cut in half.
  expect(text(4).parse('ab😀cd').isWellFormed()).toBe(true);
});

test('a list keeps its first items', () => {
  expect(atMost(text(3), 2).parse(['one', 'three', 'two'])).toEqual(['one', 'th…']);
});

test('facts are shortened until they fit, whatever their shape', () => {
  const small = { lsn: '0/5', nested: { list: [1, null, true] } };
  expect(facts(1_000).parse(small)).toEqual(small);
  const large = facts(5_000).parse({ lsn: '0/5', log: 'x'.repeat(1e6), rows: Array(1e5).fill({ text: 'y\0' }) });
  expect(JSON.stringify(large).length).toBeLessThan(5_000);
  expect(large['lsn']).toBe('0/5');
  const wide = Object.fromEntries(Array.from({ length: 1e4 }, (_, index) => [`key ${index}`, 'z'.repeat(500)]));
  expect(JSON.stringify(facts(5_000).parse(wide)).length).toBeLessThan(5_000);
});

test('what is nested deeper than any message of ours is left out, before anything recurses into it', () => {
  const deep = JSON.parse('['.repeat(5_000) + ']'.repeat(5_000)) as unknown;
  expect(JSON.stringify(storable({ deep })).length).toBeLessThan(100);
});
