import { expect, test } from 'vitest';
import { ContentSample } from './contents.js';

const FILES = 20_000;
const names = Array.from({ length: FILES }, (_, number) => `/share/${number % 50}/${number}.pdf`);
/** @param changed the last so many were written to just now */
function sampleOf(salt: string, changed: number): ReadonlySet<string> {
  const sample = new ContentSample(salt);
  names.forEach((path, at) =>
    sample.offer({ path, bytes: 9, changedAt: at < FILES - changed ? at % 1_000 : 9_000 + at }),
  );
  sample.offer({ path: '/share/notes', bytes: 9, changedAt: 99_999 });
  sample.offer({ path: '/share/empty.pdf', bytes: 0, changedAt: 99_999 });
  return new Set(sample.paths);
}

test('of a large tree a few hundred files are looked at: what was changed last, and the same ones of all', () => {
  const last = new Set(names.slice(-300));
  const calm = sampleOf('a', 0);
  const wild = sampleOf('a', 300);
  const elsewhere = sampleOf('another archive', 0);
  for (const sample of [calm, wild]) {
    expect(sample.size).toBeGreaterThan(350);
    expect(sample.size).toBeLessThanOrEqual(400);
  }
  expect([...wild].filter((path) => last.has(path)).length).toBeGreaterThanOrEqual(200);
  expect([...wild].filter((path) => calm.has(path)).length).toBeGreaterThanOrEqual(190);
  expect([...wild].filter((path) => elsewhere.has(path)).length).toBeLessThan(100);
  expect(wild.has('/share/notes') || wild.has('/share/empty.pdf')).toBe(false);
});
