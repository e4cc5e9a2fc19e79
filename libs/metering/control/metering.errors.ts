import { DomainError } from '#libs/platform/errors';

/** A fact whose time cannot be: a clock that is wrong where it was measured. */
export class UsageTimeError extends DomainError {
  constructor(id: string, from: Date, to: Date) {
    super('unprocessable', 'usage.time-impossible', 'This usage ends before it begins, or in the future.', {
      detail: `fact ${id}: from ${from.toISOString()} to ${to.toISOString()}`,
    });
  }
}
