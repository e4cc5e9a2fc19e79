import { DomainError } from '#libs/platform/errors';

/** NIST SP 800-34: recovery must be done before the longest tolerable outage has passed. */
export class RtoNotBelowMtdError extends DomainError {
  constructor(rtoSeconds: number, mtdSeconds: number) {
    super(
      'unprocessable',
      'function.rto-not-below-mtd',
      'The recovery time objective (RTO) must be shorter than the maximum tolerable downtime (MTD): recovery has to end before the outage does harm.',
      { facts: { rtoSeconds, mtdSeconds } },
    );
  }
}

export class FunctionNameTakenError extends DomainError {
  constructor(name: string) {
    super('conflict', 'function.name-taken', `There is an essential function "${name}" already. Choose another name.`);
  }
}

export class FunctionInUseError extends DomainError {
  constructor(workloads: number) {
    super('conflict', 'function.in-use', 'Workloads serve this function. Give them another function first.', {
      facts: { workloads },
    });
  }
}

export class WorkloadNameTakenError extends DomainError {
  constructor(name: string) {
    super('conflict', 'workload.name-taken', `This agent has a workload "${name}" already. Use that one.`);
  }
}
