/** Where an order stands, seen from the control plane. */
export const ORDER_STATES = ['pending', 'delivered', 'done', 'failed'] as const;
export type OrderState = (typeof ORDER_STATES)[number];

/**
 * pending → delivered: the site acknowledged that it has it, durably. delivered → done or failed: a result of the
 * site's names it. A result may outrun the acknowledgement, whose answer was lost: so pending finishes too.
 */
export const ORDER_TRANSITIONS: Readonly<Record<OrderState, readonly OrderState[]>> = {
  pending: ['delivered', 'done', 'failed'],
  delivered: ['done', 'failed'],
  done: ['failed'],
  failed: [],
};

/** The states from which `to` can be reached, for an `UPDATE … WHERE state = ANY(…)`. */
export const orderStatesBefore = (to: OrderState): OrderState[] =>
  ORDER_STATES.filter((state) => ORDER_TRANSITIONS[state].includes(to));
