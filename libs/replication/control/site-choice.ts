import type { ProtectionMode } from '#contracts/replication';
import { NotFoundError } from '#libs/platform/errors';
import { type EligibleSite, pairWarnings, sharedHazards, type SiteFacts } from '#libs/sites/control';
import { NoMetroSiteError, SamePairError, SiteNotEligibleError } from './replication.errors.js';

export type Candidate = EligibleSite & SiteFacts;

/** `undefined` lets Mainstay choose, null wants none. */
export interface WantedSites {
  readonly mode: ProtectionMode;
  readonly metroSiteId?: string | null | undefined;
  readonly regionalSiteId?: string | null | undefined;
}

export interface SitePair {
  readonly metro: Candidate | null;
  readonly regional: Candidate | null;
  readonly warnings: readonly string[];
}

const find = (candidates: readonly Candidate[], id: string): Candidate => {
  const site = candidates.find((candidate) => candidate.id === id);
  if (!site) throw new NotFoundError('site');
  return site;
};

function chooseMetro(candidates: readonly Candidate[], wanted: WantedSites): Candidate | null {
  if (wanted.metroSiteId) {
    const site = find(candidates, wanted.metroSiteId);
    if (!site.eligibleAs.includes('metro')) throw new SiteNotEligibleError(site.name, 'metro', site.reasons);
    return site;
  }
  const nearest =
    wanted.metroSiteId === null
      ? undefined
      : candidates.find((site) => site.eligibleAs.includes('metro') && site.id !== wanted.regionalSiteId);
  if (!nearest && wanted.mode === 'strict') {
    throw new NoMetroSiteError(candidates.map((site) => `${site.name}: ${site.reasons.join(' ')}`));
  }
  return nearest ?? null;
}

function chooseRegional(
  candidates: readonly Candidate[],
  wanted: WantedSites,
  metro: Candidate | null,
): Candidate | null {
  if (wanted.regionalSiteId === null) return null;
  if (wanted.regionalSiteId !== undefined) return find(candidates, wanted.regionalSiteId);
  const others = candidates.filter((site) => site.id !== metro?.id);
  const apart = others.find((site) => sharedHazards(site.hazardZones, metro?.hazardZones ?? []).length === 0);
  return apart ?? others[0] ?? null;
}

/**
 * Chooses the pair that is to hold the copies: the nearest site that may be synchronous, and the nearest one that no
 * hazard of the first strikes too.
 *
 * @param candidates the sites in operation, nearest first.
 * @throws NotFoundError, SiteNotEligibleError, NoMetroSiteError, SamePairError
 */
export function chooseSites(candidates: readonly Candidate[], wanted: WantedSites): SitePair {
  const metro = chooseMetro(candidates, wanted);
  const regional = chooseRegional(candidates, wanted, metro);
  if (metro !== null && metro.id === regional?.id) throw new SamePairError();
  if (metro === null && regional === null) throw new NotFoundError('site');
  const missing = metro === null ? ['There is no synchronous copy: a failover may lose what was written last.'] : [];
  return { metro, regional, warnings: [...missing, ...pairWarnings(metro ?? undefined, regional ?? undefined)] };
}

/** The pair that Mainstay would choose, for a look before anything is protected; never throws. */
export function suggestedPair(candidates: readonly Candidate[]): SitePair {
  if (candidates.length === 0) return { metro: null, regional: null, warnings: ['No warm site is in operation yet.'] };
  return chooseSites(candidates, { mode: 'available' });
}
