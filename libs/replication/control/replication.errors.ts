import type { Finding } from '#contracts/replication';
import { DomainError } from '#libs/platform/errors';
import type { ProtectionState } from './protection.states.js';

export class NotProtectedError extends DomainError {
  constructor() {
    super(
      'not-found',
      'protection.not-found',
      'This workload is not protected. Protect it first (POST /v1/workloads/{id}/protection).',
    );
  }
}

/** Files and dumps have no log that a standby could follow. */
export class KindNotReplicatedError extends DomainError {
  constructor(kind: string) {
    super(
      'unprocessable',
      'protection.kind-not-replicated',
      `A workload of kind "${kind}" cannot be replicated: only PostgreSQL servers can. Archive it instead (POST /v1/archives).`,
      { facts: { kind } },
    );
  }
}

export class AlreadyProtectedError extends DomainError {
  constructor(state: ProtectionState) {
    super(
      'conflict',
      'protection.exists',
      state === 'removing'
        ? 'The protection of this workload is still being removed. Wait until it is gone, then protect it anew. If a site is gone for good, remove it once more (DELETE), a quarter of an hour after that site was last heard.'
        : 'This workload is protected already. Change its protection (PATCH) or remove it first (DELETE).',
      { facts: { state } },
    );
  }
}

export class PreflightOpenError extends DomainError {
  constructor(preflightId: string) {
    super(
      'conflict',
      'preflight.open',
      'A preflight of this workload is under way. Wait for its answer; it ends by itself within minutes.',
      { facts: { preflightId } },
    );
  }
}

export class TooManyPreflightsError extends DomainError {
  constructor(most: number) {
    super(
      'too-many',
      'preflight.too-many',
      `At most ${most} preflights of an agency run at once. Wait until some of them have ended, then start this one.`,
      { facts: { most } },
    );
  }
}

export class PreflightBlockedError extends DomainError {
  constructor(preflightId: string, findings: readonly Finding[]) {
    super(
      'unprocessable',
      'protection.preflight-blocked',
      'The preflight found what must be mended first. Do what each remedy says, run a new preflight, and try again.',
      { facts: { preflightId, findings } },
    );
  }
}

export class SiteNotEligibleError extends DomainError {
  constructor(siteName: string, role: string, reasons: readonly string[]) {
    super(
      'unprocessable',
      'site.not-eligible',
      `${siteName} cannot be the ${role} site of this workload: see reasons.`,
      {
        facts: { reasons },
      },
    );
  }
}

export class NoMetroSiteError extends DomainError {
  constructor(reasons: readonly string[]) {
    super(
      'unprocessable',
      'site.no-metro',
      'No site is near enough to be synchronous (20 miles or 2 ms), which strict mode needs. Give the workload its location, connect the agent so that round trips are measured, or choose mode "available".',
      { facts: { reasons } },
    );
  }
}

export class SamePairError extends DomainError {
  constructor() {
    super('unprocessable', 'site.same', 'Metro and regional must be two different sites.');
  }
}

export class DeclarationInForceError extends DomainError {
  constructor() {
    super(
      'conflict',
      'protection.declared',
      'A failover of this workload has been declared. Until its run has ended nothing of its protection can be changed, and no grant to degrade is given.',
    );
  }
}

export class ProtectionNotReadyError extends DomainError {
  constructor(state: ProtectionState, text: string) {
    super('conflict', 'protection.not-ready', text, { facts: { state } });
  }
}

/** What would stop a standby must not stop the one that production waits for. */
export class RegionalSynchronousError extends DomainError {
  constructor() {
    super(
      'conflict',
      'protection.regional-synchronous',
      'The regional site is the synchronous one, or may become it by a grant that is still open. Return to the metro site first (POST /v1/workloads/{id}/protection/rearm), and try again once the protection shows synchronousSite "metro". If the metro site is gone for good, remove the protection, and protect the workload at another.',
    );
  }
}

export class NoRegionalLegError extends DomainError {
  constructor() {
    super(
      'conflict',
      'protection.no-regional',
      'This protection has no regional site that could become the synchronous one. Production can only go on alone ("to": "alone").',
    );
  }
}

export class NoMetroLegError extends DomainError {
  constructor() {
    super(
      'conflict',
      'protection.no-metro',
      'This protection has no metro site: there is nothing to degrade or re-arm.',
    );
  }
}
