import { z } from 'zod';
import { atMost, text } from '#contracts/sites';
import { failure } from './terms.js';

/** Of what is counted of a proof, so many paths are told. */
export const PATHS_SEEN = 20;

/** How a canary of the agency's stood in a restored recovery point, against how it was known. */
export const canaryFound = z.strictObject({
  path: text(1_000),
  /**
   * `learnt`: seen for the first time. `missing`: it was there before. `not-found`: it never was. `not-compared`: what is
   * known of it is from a newer recovery point, or this one is of no run.
   */
  state: z.enum(['learnt', 'unchanged', 'changed', 'missing', 'not-found', 'not-compared']),
});
export type CanaryFound = z.infer<typeof canaryFound>;

/** How a recovery point was proven. */
export const proof = z.strictObject({
  state: z.enum(['never', 'running', 'proven', 'failed', 'not-possible']),
  at: z.iso.datetime().nullable(),
  /** The measured time of the restore. */
  seconds: z.number().nonnegative().nullable(),
  checks: atMost(z.strictObject({ name: text(200), passed: z.boolean(), found: text(500) }), 200),
  failure: failure.nullable(),
  /** Of folders: of a sample of files, how many do not begin as their names promise, and some of those. */
  contents: z
    .strictObject({
      looked: z.number().int().nonnegative(),
      wrong: z.number().int().nonnegative(),
      paths: atMost(text(1_000), PATHS_SEEN),
    })
    .optional(),
  canaries: atMost(canaryFound, 100).optional(),
});
export type Proof = z.infer<typeof proof>;
