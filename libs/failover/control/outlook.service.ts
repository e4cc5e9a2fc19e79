import { Injectable } from '@nestjs/common';
import { type LossStatement, type OldServerFate, promotionOutlook, type PromotionOutlook } from '#contracts/failover';
import type { AcceptedLoss } from '#contracts/failover';
import { type ProviderTransaction, type Transaction, UnitOfWork } from '#libs/platform/database';
import { errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import {
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
  /** What the declaration must say; `oldServer` is a choice where one word must be picked. */
  readonly declare: {
    readonly siteId: string;
    readonly acceptLoss: AcceptedLoss;
    readonly oldServer: OldServerFate | readonly OldServerFate[];
  };
}

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
    const { protection, legs, kept, granted } = await this.work.tenant(tenantId, async (tx) => {
      const row = await this.protections.look(tx, workloadId);
      return {
        protection: row,
        legs: await this.health.legs(tx, row),
        kept: await this.health.kept(tx, tenantId, workloadId),
        granted: new Map(await this.evidence(tx, row)),
      };
    });
    const candidates = inOrder(protection, kept);
    const pair = [protection.metroSiteId, protection.regionalSiteId].filter((id) => id !== null);
    if (siteId !== undefined) chooseSite(protection, kept, siteId);
    const answers = new Map(
      await Promise.all(
        pair.map(async (id) => [id, await this.ask(id, workloadId, granted.get(id) ?? false)] as const),
      ),
    );
    const answerOf = (id: string | undefined) => answers.get(id ?? '') ?? null;
    const sites = legs
      .filter((leg) => candidates.includes(leg.siteId))
      .map((leg) => describe(leg, answerOf(leg.siteId), answerOf(otherSite(protection, leg.siteId))));
    const ready = candidates.find((id) => answerOf(id)?.canPromote === true);
    const chosen = siteId ?? ready ?? chooseSite(protection, kept, undefined);
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
      declare: { siteId: chosen, acceptLoss, oldServer },
    };
  }

  private async evidence(tx: Transaction, row: ProtectionRow): Promise<[string, boolean][]> {
    const found: [string, boolean][] = [];
    for (const siteId of standbySites(row)) {
      found.push([siteId, (await this.grants.evidence(tx, row, siteId)).noDegradeGranted]);
    }
    return found;
  }

  /** What is known of a promotion at the site, as it and the other one of the pair say now. */
  async prospect(protection: ProtectionRow, siteId: string, noDegradeGranted: boolean): Promise<Prospect> {
    const { workloadId } = protection;
    const other = otherSite(protection, siteId);
    const [outlook, others] = await Promise.all([
      this.ask(siteId, workloadId, noDegradeGranted),
      other === undefined ? null : this.ask(other, workloadId, noDegradeGranted),
    ]);
    return prospectOf(outlook, others);
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

function describe(leg: LegView, outlook: PromotionOutlook | null, other: PromotionOutlook | null): SiteOutlook {
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
    ...prospectOf(outlook, other),
    secondsBehind,
    sourceSeenSecondsAgo,
    obstacles: outlook?.obstacles ?? [silent],
  };
}
