import { Injectable } from '@nestjs/common';
import { type LossStatement, type OldServerFate, promotionOutlook, type PromotionOutlook } from '#contracts/failover';
import type { AcceptedLoss } from '#contracts/failover';
import { type ProviderTransaction, type Transaction, UnitOfWork } from '#libs/platform/database';
import { errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import {
  CLOSED_DOORS,
  DegradeGrants,
  type KeptHealth,
  type LegView,
  ProtectionDuringFailover,
  ProtectionHealth,
  type ProtectionRow,
} from '#libs/replication/control';
import { siteAddress, SiteEndpoints } from '#libs/sites/control';
import { mustSayOldServer, type Prospect, prospectOf, toAccept } from './loss.js';
import { chooseSite, inOrder, otherSite, standbySites } from './target.js';

/** The dry answer of one site. */
export interface SiteOutlook {
  readonly siteId: string;
  readonly siteName: string;
  readonly role: 'metro' | 'regional';
  /** Whether the site itself answered just now; without its answer the rest is what it measured last. */
  readonly answered: boolean;
  readonly canPromote: boolean | null;
  readonly loss: LossStatement;
  readonly armed: boolean | null;
  readonly bytesBehind: number | null;
  readonly secondsBehind: number | null;
  readonly sourceSeenSecondsAgo: number | null;
  readonly obstacles: readonly { readonly code: string; readonly what: string; readonly remedy: string }[];
}

export interface Preview {
  readonly workloadId: string;
  /** Where a declaration that names no site would go; the same as in `sites`. */
  readonly siteId: string;
  readonly mode: 'strict' | 'available';
  readonly sites: readonly SiteOutlook[];
  readonly loss: LossStatement;
  readonly obstacles: SiteOutlook['obstacles'];
  /** What hinders no promotion, and yet is to be mended. */
  readonly warnings: SiteOutlook['obstacles'];
  /** What the declaration must say; `oldServer` is a choice where one word must be picked. */
  readonly declare: {
    readonly siteId: string;
    readonly acceptLoss: AcceptedLoss;
    readonly oldServer: OldServerFate | readonly OldServerFate[];
  };
}

/** The sites of a protection, and what is known of them before they are asked. */
export interface Pair {
  readonly protection: ProtectionRow;
  readonly kept: readonly KeptHealth[];
  /** By site: whether nobody has allowed production to go on without it. */
  readonly noDegradeGranted: ReadonlyMap<string, boolean>;
}

type Answers = ReadonlyMap<string, PromotionOutlook | null>;

/** Short: the answer is for somebody who is about to declare. */
const TIMEOUT_MS = 1_500;
export const FATES: readonly OldServerFate[] = ['destroyed', 'switched-off', 'cut-off', 'unknown'];

/** Says what a failover would bring, asking the sites and never the agency, which may be gone. */
@Injectable()
export class Outlooks {
  constructor(
    private readonly work: UnitOfWork,
    private readonly protections: ProtectionDuringFailover,
    private readonly health: ProtectionHealth,
    private readonly grants: DegradeGrants,
    private readonly endpoints: SiteEndpoints,
    private readonly logger: AppLogger,
  ) {}

  /** @throws NotFoundError, NotProtectedError, NotAStandbySiteError, AlreadyThereError */
  async preview(tenantId: string, workloadId: string, siteId: string | undefined): Promise<Preview> {
    const { pair, legs } = await this.work.tenant(tenantId, async (tx) => {
      const row = await this.protections.look(tx, workloadId);
      return { pair: await this.pair(tx, row), legs: await this.health.legs(tx, row) };
    });
    const { protection, kept } = pair;
    const candidates = inOrder(protection, kept);
    if (siteId !== undefined) chooseSite(protection, kept, siteId);
    const answers = await this.askAll(pair);
    const sites = legs
      .filter((leg) => candidates.includes(leg.siteId))
      .map((leg) => describe(leg, answers.get(leg.siteId) ?? null, prospectAt(protection, leg.siteId, answers)));
    const chosen = siteId ?? preferred(pair, answers);
    const site = sites.find((one) => one.siteId === chosen) as SiteOutlook;
    const acceptLoss = toAccept(site.loss);
    const oldServer = mustSayOldServer(protection, site.loss) ? FATES : 'not-asked';
    return {
      workloadId,
      siteId: chosen,
      mode: protection.mode,
      sites,
      loss: site.loss,
      obstacles: site.obstacles,
      warnings: protection.clientNetworks.length > 0 ? [] : [CLOSED_DOORS],
      declare: { siteId: chosen, acceptLoss, oldServer },
    };
  }

  /** What {@link prospect} needs to know, from the caller's transaction. */
  async pair(tx: Transaction, protection: ProtectionRow): Promise<Pair> {
    const noDegradeGranted = new Map<string, boolean>();
    for (const siteId of standbySites(protection)) {
      noDegradeGranted.set(siteId, (await this.grants.evidence(tx, protection, siteId)).noDegradeGranted);
    }
    return { protection, kept: await this.kept(tx, protection), noDegradeGranted };
  }

  /** Where to promote, unless the site is named, and what is known of it, as both sites of the pair say now. */
  async prospect(pair: Pair, named: string | undefined): Promise<{ siteId: string; prospect: Prospect }> {
    const answers = await this.askAll(pair);
    const siteId = named ?? preferred(pair, answers);
    return { siteId, prospect: prospectAt(pair.protection, siteId, answers) };
  }

  /** Where production runs is asked, too: it has heard the agent. */
  private async askAll({ protection, noDegradeGranted }: Pair): Promise<Answers> {
    const { metroSiteId, regionalSiteId, workloadId } = protection;
    const ids = [metroSiteId, regionalSiteId].filter((id) => id !== null);
    const asked = ids.map(
      async (id) => [id, await this.ask(id, workloadId, noDegradeGranted.get(id) ?? false)] as const,
    );
    return new Map(await Promise.all(asked));
  }

  /** What the site says of a promotion there now; null when it does not answer in time. */
  private async ask(siteId: string, workloadId: string, noDegradeGranted: boolean): Promise<PromotionOutlook | null> {
    const address = await this.work.provider((tx: ProviderTransaction) => siteAddress(tx, siteId));
    if (!address) return null;
    try {
      const answer = await this.endpoints.call(address, {
        method: 'GET',
        path: `/v1/workloads/${workloadId}/outlook?noDegradeGranted=${noDegradeGranted}`,
        timeoutMs: TIMEOUT_MS,
      });
      if (answer.status !== 200) throw new Error(`the site answered ${answer.status}`);
      return promotionOutlook.parse(answer.body);
    } catch (error) {
      this.logger.log.warn({ siteId, workloadId, reason: errorText(error) }, 'a site gave no outlook');
      return null;
    }
  }

  /** The newest measurements, for a declaration's record. */
  kept(tx: Transaction, protection: ProtectionRow): Promise<KeptHealth[]> {
    return this.health.kept(tx, protection.tenantId, protection.workloadId);
  }
}

/** The first that says that it can be promoted; where none does, by who speaks to us. */
function preferred({ protection, kept }: Pair, answers: Answers): string {
  const ready = inOrder(protection, kept).find((id) => answers.get(id)?.canPromote === true);
  return ready ?? chooseSite(protection, kept, undefined);
}

function prospectAt(protection: ProtectionRow, siteId: string, answers: Answers): Prospect {
  return prospectOf(answers.get(siteId) ?? null, answers.get(otherSite(protection, siteId) ?? '') ?? null);
}

function describe(leg: LegView, outlook: PromotionOutlook | null, prospect: Prospect): SiteOutlook {
  const { siteId, siteName, role, secondsBehind, sourceSeenSecondsAgo } = leg;
  const silent = {
    code: 'site.unreachable',
    what: `${siteName} does not answer.`,
    remedy: 'Try again in a moment, or declare at the other site.',
  };
  return {
    siteId,
    siteName,
    role,
    answered: outlook !== null,
    canPromote: outlook?.canPromote ?? null,
    ...prospect,
    secondsBehind,
    sourceSeenSecondsAgo,
    obstacles: outlook?.obstacles ?? [silent],
  };
}
