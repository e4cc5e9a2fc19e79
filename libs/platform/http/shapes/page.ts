import { z } from 'zod';
import { DomainError } from '#libs/platform/errors';

/** The query of every list: how many, and from where on. */
export const pageQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(200).default(50).meta({ description: 'Items at most.' }),
  cursor: z.string().max(500).optional().meta({ description: 'nextCursor of the page before. Opaque.' }),
});
export type PageQuery = z.infer<typeof pageQuery>;

/** One page of a list. `nextCursor` is null on the last one. */
export interface Page<T> {
  readonly items: T[];
  readonly nextCursor: string | null;
}

/** The schema of a page of `item`. */
export const pageOf = <T extends z.ZodType>(item: T) =>
  z.object({ items: z.array(item), nextCursor: z.string().nullable() });

export class CursorInvalidError extends DomainError {
  constructor() {
    super('invalid', 'cursor.invalid', 'This cursor is not one of this list. Start again without a cursor.');
  }
}

const values = z.array(z.union([z.string(), z.number()])).max(8);

/** A text of a sort key. PostgreSQL takes no NUL. */
export const cursorText = z.string().regex(/^[^\0]*$/);

/** A timestamptz of a sort key as PostgreSQL writes it (`::text`), microseconds and all. */
export const cursorTime = z
  .string()
  .regex(/^\d{4}-(0[1-9]|1[0-2])-([0-2]\d|3[01]) [0-2]\d:[0-5]\d:[0-5]\d(\.\d{1,6})?[+-]\d\d(:\d\d)?$/);

/** Where a page ends, as the sort key of its last row: pages stay right while rows come and go. */
export const encodeCursor = (key: readonly (string | number)[]): string =>
  Buffer.from(JSON.stringify(key)).toString('base64url');

/**
 * Reads a cursor that {@link encodeCursor} made. `shape` is the sort key's own schema, so that a forged cursor never
 * reaches a statement with a value of another type.
 *
 * @throws CursorInvalidError when it is of another list, or none at all.
 */
export function decodeCursor<T extends z.ZodType>(cursor: string | undefined, shape: T): z.infer<T> | undefined {
  if (cursor === undefined) return undefined;
  try {
    return shape.parse(values.parse(JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'))));
  } catch {
    throw new CursorInvalidError();
  }
}

/** Makes a page of `rows` that were read with `LIMIT limit + 1`: the extra row says whether there is more. */
export function toPage<R, T>(
  rows: readonly R[],
  limit: number,
  key: (row: R) => readonly (string | number)[],
  item: (row: R) => T,
): Page<T> {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return {
    items: shown.map(item),
    nextCursor: rows.length > limit && last !== undefined ? encodeCursor(key(last)) : null,
  };
}
