import type { KeptHealth, ProtectionRow } from '#libs/replication/control';
import { SILENT_SECONDS, synchronousSiteOf } from '#libs/replication/control';
import { AlreadyThereError, NotAStandbySiteError } from './failover.errors.js';

/** The sites that hold a standby which could be promoted: not the one where production runs already. */
export function standbySites(protection: ProtectionRow): string[] {
  return [protection.metroSiteId, protection.regionalSiteId].filter(
    (id): id is string => id !== null && id !== protection.activeSiteId,
  );
}

/** The other site of the pair, also when production runs there. */
export function otherSite(protection: ProtectionRow, siteId: string): string | undefined {
  const { metroSiteId, regionalSiteId } = protection;
  return [metroSiteId, regionalSiteId].find((id): id is string => id !== null && id !== siteId);
}

/** The sites that could be promoted: the synchronous one first, as whichever site heard the agency last says. */
export function inOrder(protection: ProtectionRow, kept: readonly KeptHealth[]): string[] {
  const sites = standbySites(protection);
  return synchronousSiteOf(kept) === 'regional' ? sites.reverse() : sites;
}

/**
 * Whether a better site would be passed over for its silence alone. It may be ours: after this process was away, whichever
 * site reports first is the only one that speaks.
 */
export function passesOver(
  protection: ProtectionRow,
  kept: readonly KeptHealth[],
  wanted: string | undefined,
): boolean {
  return wanted === undefined && chooseSite(protection, kept, undefined) !== inOrder(protection, kept)[0];
}

/**
 * Where to promote: the named site, or the synchronous one while it speaks to us, else the other if it does.
 *
 * @throws NotAStandbySiteError, AlreadyThereError
 */
export function chooseSite(protection: ProtectionRow, kept: readonly KeptHealth[], wanted: string | undefined): string {
  const sites = inOrder(protection, kept);
  if (wanted !== undefined) {
    if (wanted === protection.activeSiteId) throw new AlreadyThereError(wanted);
    if (!sites.includes(wanted)) throw new NotAStandbySiteError(sites);
    return wanted;
  }
  const speaking = sites.find((id) => kept.some((one) => one.siteId === id && one.ageSeconds <= SILENT_SECONDS));
  const chosen = speaking ?? sites[0];
  if (chosen === undefined) throw new NotAStandbySiteError(sites);
  return chosen;
}
