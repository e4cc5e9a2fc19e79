import { NotFoundError } from '#libs/platform/errors';
import { type AgentLinkView, type EligibleSite, NoSiteError, pairWarnings, type SiteFacts } from '#libs/sites/control';
import { SameSiteError } from '../archive.errors.js';

type Candidate = EligibleSite & SiteFacts;

export interface ChosenSites {
  readonly first: Candidate;
  readonly second: Candidate | null;
  readonly warnings: readonly string[];
}

const find = (candidates: readonly Candidate[], id: string): Candidate => {
  const site = candidates.find((candidate) => candidate.id === id);
  if (!site) throw new NotFoundError('site');
  return site;
};

/**
 * Where an archive is kept: the site asked for, or of those that the agent dials the nearest one that it is connected to.
 * A second copy is kept where it is asked for, and nowhere else.
 *
 * @param candidates the sites in operation, nearest first.
 * @throws NotFoundError, SameSiteError, NoSiteError
 */
export function chooseArchiveSites(
  candidates: readonly Candidate[],
  links: readonly AgentLinkView[],
  wanted: { readonly siteId?: string | undefined; readonly secondSiteId?: string | null | undefined },
): ChosenSites {
  const linked = (connected: boolean) => (site: Candidate) =>
    links.some(({ siteId, state }) => siteId === site.id && (!connected || state === 'connected'));
  const others = candidates.filter(({ id }) => id !== wanted.secondSiteId);
  const first =
    wanted.siteId === undefined
      ? (others.find(linked(true)) ?? others.find(linked(false)) ?? others[0])
      : find(candidates, wanted.siteId);
  if (!first) throw new NoSiteError();
  const second = wanted.secondSiteId ? find(candidates, wanted.secondSiteId) : null;
  if (second?.id === first.id) throw new SameSiteError();
  return { first, second, warnings: pairWarnings(first, second ?? undefined) };
}
