import type { Standby } from '../standby.row.js';

/**
 * What one step of the reconciler came to. moved: the row says something new, look again at once. again: nothing to do
 * for so long. rest: as it should be, or not ours to change. seed: the copy is to be run, which takes its time.
 */
export type Outcome =
  | { readonly kind: 'moved' }
  | { readonly kind: 'again'; readonly milliseconds: number }
  | { readonly kind: 'rest' }
  | { readonly kind: 'seed' };

export const MOVED: Outcome = { kind: 'moved' };
export const REST: Outcome = { kind: 'rest' };
export const SEED: Outcome = { kind: 'seed' };
export const again = (milliseconds: number): Outcome => ({ kind: 'again', milliseconds });

/** One thing that the reconciler does, safe to repeat after a crash at any point. */
export interface Stage {
  advance(standby: Standby, signal: AbortSignal): Promise<Outcome>;
}

export const slotOf = ({ role, names }: Pick<Standby, 'role' | 'names'>): string =>
  role === 'metro' ? names.metroSlot : names.regionalSlot;

/** The slot that this standby keeps for the other site, to be followed by it after a promotion here. */
export const slotForOther = ({ role, names }: Pick<Standby, 'role' | 'names'>): string =>
  role === 'metro' ? names.regionalSlot : names.metroSlot;

export const applicationOf = ({ role, names }: Pick<Standby, 'role' | 'names'>): string =>
  role === 'metro' ? names.metroApplication : names.regionalApplication;
