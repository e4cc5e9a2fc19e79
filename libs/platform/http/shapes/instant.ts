import { z } from 'zod';

/** A point in time in an answer: a `Date` of ours leaves as ISO 8601 in UTC. */
export const instant = z.preprocess((value) => (value instanceof Date ? value.toISOString() : value), z.iso.datetime());
