import type { AcceptedLoss, LossStatement, PromotionOutlook } from '#contracts/failover';
import type { KeptHealth, ProtectionRow } from '#libs/replication/control';

/** What is known of a promotion at one site before it is ordered. */
export interface Prospect {
  readonly loss: LossStatement;
  readonly armed: boolean | null;
  readonly bytesBehind: number | null;
}

/** Whether what a person accepts covers what may be lost. */
export function covers(accepted: AcceptedLoss, loss: LossStatement): boolean {
  switch (accepted.kind) {
    case 'unknown':
      return true;
    case 'bounded':
      return loss.kind === 'none' || (loss.kind === 'bounded' && loss.bytes !== null && loss.bytes <= accepted.bytes);
    case 'none':
      return loss.kind === 'none';
  }
}

/** What must be accepted, so that it covers the loss. */
export function toAccept(loss: LossStatement): AcceptedLoss {
  if (loss.kind === 'none') return { kind: 'none' };
  return loss.kind === 'bounded' && loss.bytes !== null ? { kind: 'bounded', bytes: loss.bytes } : { kind: 'unknown' };
}

/**
 * Whether the newest measurement shows an armed lease in force: then a promotion of that site loses nothing (design.md,
 * decision 6), and nobody need be asked. Both times of the comparison are the site's own.
 */
export function armedNow(kept: KeptHealth | undefined): boolean {
  if (kept?.health.armed !== true || kept.health.armedUntil === null) return false;
  const secondsLeft = (Date.parse(kept.health.armedUntil) - Date.parse(kept.measuredAt)) / 1_000 - kept.ageSeconds;
  return secondsLeft > 0;
}

export const NOTHING_LOST: Prospect = {
  loss: { kind: 'none', bytes: 0, why: 'Production acknowledges a write only once this site has it.' },
  armed: true,
  bytesBehind: null,
};

/**
 * From the site's own answer; a site that does not answer leaves everything unknown. That nothing is lost because
 * production is strict is not claimed against what the other site was told since this one last heard "armed"; an armed
 * lease in force needs no such word.
 */
export function prospectOf(outlook: PromotionOutlook | null, other: PromotionOutlook | null): Prospect {
  if (outlook) {
    const { armed, bytesBehind } = outlook;
    return { loss: contradiction(outlook, other) ?? outlook.loss, armed, bytesBehind };
  }
  return {
    loss: { kind: 'unknown', bytes: null, why: 'The site does not answer, so nobody knows what it has.' },
    armed: null,
    bytesBehind: null,
  };
}

function contradiction(outlook: PromotionOutlook, other: PromotionOutlook | null): LossStatement | undefined {
  const contrary = other?.contrary;
  if (!contrary || outlook.loss.kind !== 'none' || outlook.armed === true) return undefined;
  const heard = outlook.armedSecondsAgo ?? null;
  if (heard !== null && contrary.secondsAgo > heard) return undefined;
  return { kind: 'unknown', bytes: null, why: `The agent has told the other site: ${contrary.what}.` };
}

/**
 * Whether it must be said how the old server was stopped: in available mode it may go on alone, and when a loss cannot
 * be excluded it may be acknowledging still.
 */
export const mustSayOldServer = (protection: Pick<ProtectionRow, 'mode'>, loss: LossStatement): boolean =>
  protection.mode === 'available' || loss.kind !== 'none';
