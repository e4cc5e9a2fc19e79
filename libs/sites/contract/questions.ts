import { z } from 'zod';

/**
 * What the control plane asks of a site and has answered at once: a look that changes nothing, so that it may be lost or
 * repeated. `POST /v1/questions` over the mutual TLS of the orders, unsigned like the look into the outbox. A refusal is
 * `{code, message}` with the status of its kind, as everywhere at the site.
 */
export const siteQuestion = z.strictObject({
  /** See {@link QuestionContract}: each kind's payload has its own schema. */
  kind: z.string().max(60),
  /** Whose: a site answers nothing about what belongs to another agency (404). */
  tenantId: z.uuid(),
  payload: z.record(z.string(), z.unknown()),
});
export type SiteQuestion = z.infer<typeof siteQuestion>;

export interface QuestionContract<P = unknown, A = unknown> {
  readonly kind: string;
  readonly payload: z.ZodType<P>;
  /**
   * The JSON that answers it; null where bytes do: `application/octet-stream`, with `content-length` where it is known, and
   * a connection that is cut, never an end, when they cannot be had to the last.
   */
  readonly answer: z.ZodType<A> | null;
}

/** A question answered with JSON. */
export function defineQuestion<P, A>(
  kind: string,
  payload: z.ZodType<P>,
  answer: z.ZodType<A>,
): QuestionContract<P, A> & { readonly answer: z.ZodType<A> } {
  return Object.freeze({ kind, payload, answer });
}

/** A question answered with bytes. */
export function defineByteQuestion<P>(
  kind: string,
  payload: z.ZodType<P>,
): QuestionContract<P, never> & { readonly answer: null } {
  return Object.freeze({ kind, payload, answer: null });
}
