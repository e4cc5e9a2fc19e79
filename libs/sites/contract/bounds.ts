import { z } from 'zod';

// Bounds for what agents and sites say. They are generous to honest ends, and keep one agency's words from filling
// what all agencies of a site share: its link's event loop, its outbox, the control plane's tables.

/** Deeper than any message of ours; what lies deeper is left out. */
const DEEPEST = 12;
const CUT = '…';

/** A text as `jsonb` and people can take it: PostgreSQL refuses NUL and lone surrogates, and its end may be cut off. */
export function storableText(said: string, longest = Number.POSITIVE_INFINITY): string {
  const kept = said.length > longest ? said.slice(0, longest - CUT.length) + CUT : said;
  return kept.toWellFormed().replaceAll('\0', '\uFFFD');
}

/**
 * A text for people, of at most so many UTF-16 units. What is over is cut off at both ends of a line, since losing the
 * whole message would be worse than losing the tail.
 */
export const text = (longest: number) =>
  z
    .string()
    .overwrite((said) => storableText(said, longest))
    .max(longest);

/** A list of which the first so many are kept: for what is read by people, where the first ones say enough. */
export const atMost = <T extends z.ZodType>(item: T, most: number) =>
  z
    .array(item)
    .overwrite((items) => (items.length > most ? items.slice(0, most) : items))
    .max(most);

/** The same value, with nothing in it that `jsonb` refuses. */
export const storable = <T>(value: T): T => within(value, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, 0) as T;

/** Facts of any shape, storable, and shortened until their JSON has at most so many characters. */
export function shortened(facts: Record<string, unknown>, longest: number): Record<string, unknown> {
  const steps = [
    [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
    [1_000, 50],
    [200, 10],
    [50, 3],
  ] as const;
  for (const [characters, items] of steps) {
    const kept = within(facts, characters, items, 0) as Record<string, unknown>;
    if (JSON.stringify(kept).length <= longest) return kept;
  }
  return { shortened: true };
}

/** {@link shortened} as a schema. */
export const facts = (longest: number) =>
  z.record(z.string(), z.unknown()).overwrite((said) => shortened(said, longest));

function within(value: unknown, characters: number, items: number, depth: number): unknown {
  if (typeof value === 'string') return storableText(value, characters);
  if (typeof value !== 'object' || value === null) return value;
  if (depth >= DEEPEST) return null;
  if (Array.isArray(value)) {
    return firstOf(value, items).map((one) => within(one, characters, items, depth + 1));
  }
  if (Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(
    firstOf(Object.entries(value), Math.max(items, 30)).map(([name, one]) => [
      storableText(name, characters),
      within(one, characters, items, depth + 1),
    ]),
  );
}

const firstOf = <T>(all: readonly T[], most: number): readonly T[] => (all.length > most ? all.slice(0, most) : all);
