import { Injectable } from '@nestjs/common';
import { type ArchivePolicy, endArchiveOrder, ensureArchiveOrder, keepCopyOrder } from '#contracts/archive';
import type { OrderContract, PeerSite } from '#contracts/sites';
import type { Transaction } from '#libs/platform/database';
import { Orders, Sites } from '#libs/sites/control';
import type { ArchiveRow } from './archive-store.js';

/**
 * Tells sites what to archive, and where the second copy is. The control plane is updated before its sites, and an older site
 * refuses an order with a field that it does not know, for good: what there is nothing to say of is left out.
 */
@Injectable()
export class ArchiveOrders {
  constructor(
    private readonly orders: Orders,
    private readonly sites: Sites,
  ) {}

  /** The archive as it is to be, to its site and, if there is one, to the site that keeps the second copy. */
  async ensure(tx: Transaction, archive: ArchiveRow): Promise<void> {
    const policy = saying(archive.policy);
    const { first, second } = await this.sitesOf(tx, archive);
    await this.give(tx, archive, ensureArchiveOrder, {
      agentId: archive.agentId,
      workloadName: archive.workloadName,
      source: archive.source,
      keyMode: archive.keyMode,
      policy,
      paused: archive.paused,
      ...(archive.formerRetention && { former: archive.formerRetention }),
      second: second?.peer ?? null,
    });
    if (!first || !second) return;
    await this.orders.issue(tx, {
      siteId: second.id,
      tenantId: archive.tenantId,
      contract: keepCopyOrder,
      payload: { ...refOf(archive), first: first.peer, minimumAgeDays: policy.minimumAgeDays },
    });
  }

  /** No more runs; both copies stay until their time. Each site knows already where the other one is. */
  async end(tx: Transaction, archive: ArchiveRow): Promise<void> {
    await this.give(tx, archive, endArchiveOrder, {});
    if (archive.secondSiteId !== null) await this.endAt(tx, archive, archive.secondSiteId, {});
  }

  /** The same once more for both sites of an archive that ends: each learns where the other one is now. */
  async endElsewhere(tx: Transaction, archive: ArchiveRow): Promise<void> {
    const { first, second } = await this.sitesOf(tx, archive);
    if (!first || !second) return;
    await this.give(tx, archive, endArchiveOrder, { other: second.peer });
    await this.endAt(tx, archive, second.id, { other: first.peer });
  }

  private async endAt(
    tx: Transaction,
    archive: ArchiveRow,
    siteId: string,
    rest: { readonly other?: PeerSite },
  ): Promise<void> {
    const payload = { ...refOf(archive), ...rest };
    await this.orders.issue(tx, { siteId, tenantId: archive.tenantId, contract: endArchiveOrder, payload });
  }

  private async sitesOf(tx: Transaction, { siteId, secondSiteId }: ArchiveRow) {
    const facts = await this.sites.facts(tx, [siteId, ...(secondSiteId === null ? [] : [secondSiteId])]);
    return { first: facts.get(siteId), second: secondSiteId === null ? undefined : facts.get(secondSiteId) };
  }

  /** An order about the archive to its own site. */
  async give<P extends { archiveId: string; workloadId: string }>(
    tx: Transaction,
    archive: Pick<ArchiveRow, 'id' | 'workloadId' | 'siteId' | 'tenantId'>,
    contract: OrderContract<P>,
    rest: Omit<P, 'archiveId' | 'workloadId'>,
  ): Promise<void> {
    const payload = { ...rest, ...refOf(archive) } as P;
    await this.orders.issue(tx, { siteId: archive.siteId, tenantId: archive.tenantId, contract, payload });
  }
}

const refOf = ({ id, workloadId }: Pick<ArchiveRow, 'id' | 'workloadId'>) => ({ archiveId: id, workloadId });

/** Left empty is as left out. */
const saying = ({ canaries = [], rateBytesPerSecond = null, ...policy }: ArchivePolicy): ArchivePolicy => ({
  ...policy,
  ...(canaries.length > 0 ? { canaries } : {}),
  ...(rateBytesPerSecond === null ? {} : { rateBytesPerSecond }),
});
