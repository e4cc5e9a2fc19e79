import { DomainError } from '#libs/platform/errors';

/** Not an order at all, or one whose payload does not fit its kind. */
export class OrderMalformedError extends DomainError {
  constructor(code: 'order.malformed' | 'order.payload-malformed', detail: string) {
    super('unprocessable', code, 'This is not an order that this site understands.', { detail });
  }
}

export class OrderKindUnknownError extends DomainError {
  constructor(kind: string) {
    super('unprocessable', 'order.kind-unknown', 'This site does not know this kind of order. Update the site.', {
      detail: kind,
    });
  }
}

/** Unsigned, altered, signed by another key, or meant for another site: it is never carried out. */
export class OrderRefusedError extends DomainError {
  constructor(code: 'order.signature-invalid' | 'order.other-site') {
    super('forbidden', code, 'This site does not take this order: it is not signed for it by its control plane.');
  }
}

/** The id or the number stands for another order already. */
export class OrderConflictError extends DomainError {
  constructor(detail: string) {
    super('conflict', 'order.conflict', 'This site holds a different order with the same id or number.', { detail });
  }
}

/** It was asked so long ago that whoever asked has asked anew, or does not wait any more. */
export class OrderGivenUpError extends DomainError {
  constructor() {
    super('unavailable', 'order.given-up', 'This could not be done in time, and is not tried again. Ask for it anew.');
  }
}

/** Order contracts and handlers do not match one to one: the start fails, so that no order is stored and forgotten. */
export class OrderHandlerMismatchError extends Error {
  constructor(faults: readonly string[]) {
    super(`orders and handlers do not match: ${faults.join('; ')}`);
    this.name = 'OrderHandlerMismatchError';
  }
}
