import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { type copyAccessCommand, copyDoneCommand, copyEndCommand, copyRenewCommand } from '#contracts/archive';
import type { PeerSite } from '#contracts/sites';
import { type AgentCommands, type PeerAddress, PeerSites, type SiteCommand } from '#libs/sites/site';
import type { z } from 'zod';
import { VaultRepositories } from '../index.js';
import { CopyAccesses } from '../copies/copy-access.handler.js';
import { KeptEnding } from '../copies/kept-ending.js';
import { type ArchiveWish, CareUnderTest } from './care-under-test.js';

/** The line between two sites, without the link: what one asks, the other's own handler answers. */
class DirectPeers extends PeerSites {
  far: CareUnderTest | undefined;
  nearId = '';

  async call<I, O>({ workloadId }: PeerAddress, command: SiteCommand<I, O>, input: I): Promise<O> {
    const caller = { siteId: this.nearId, workloadId };
    if (!this.far) throw new Error('the other site is away');
    const accesses = this.far.get(CopyAccesses);
    if (command.path === copyDoneCommand.path) {
      await accesses.end(caller, copyDoneCommand.input.parse(input));
      return command.output.parse({ ok: true });
    }
    if (command.path === copyRenewCommand.path) {
      const seconds = await accesses.renew(caller, copyRenewCommand.input.parse(input));
      return command.output.parse({ seconds });
    }
    if (command.path === copyEndCommand.path) {
      const over = await this.far.get(KeptEnding).end(caller, copyEndCommand.input.parse(input));
      return command.output.parse({ over });
    }
    return command.output.parse(await accesses.give(caller, input as z.infer<typeof copyAccessCommand.input>));
  }

  stream(): Promise<Readable> {
    return Promise.resolve(Readable.from([]));
  }
}

/** A site, and the one that keeps its second copies. */
export class TwoSites {
  private constructor(
    readonly first: CareUnderTest,
    readonly second: CareUnderTest,
    private readonly line: DirectPeers,
  ) {}

  /** @param agents of the first site */
  static async start(agents?: AgentCommands): Promise<TwoSites> {
    const line = new DirectPeers();
    const parts = { peers: line, ...(agents ? { agents } : {}) };
    const [first, second] = await Promise.all([CareUnderTest.start(parts), CareUnderTest.start()]);
    line.nearId = first.siteId;
    line.far = second;
    return new TwoSites(first, second, line);
  }

  async stop(): Promise<void> {
    await Promise.all([this.first.stop(), this.second.stop()]);
  }

  cut(): void {
    this.line.far = undefined;
  }

  join(): void {
    this.line.far = this.second;
  }

  /** An archive of the first site, of which the second keeps a copy. */
  async archive(wish: ArchiveWish = {}): Promise<string> {
    const archiveId = await this.first.archive({ ...wish, second: this.peer(this.second) });
    const [row] = await this.first.rows<{ tenantId: string; workloadId: string }>(
      `SELECT tenant_id AS "tenantId", workload_id AS "workloadId" FROM archive WHERE archive_id = $1`,
      [archiveId],
    );
    await this.keep(archiveId, row?.tenantId ?? '', row?.workloadId ?? '', wish.minimumAgeDays ?? 1);
    return archiveId;
  }

  /** As the order `archive.keep-copy` leaves it. */
  private async keep(archiveId: string, tenantId: string, workloadId: string, minimumAgeDays: number): Promise<void> {
    await this.second.get(VaultRepositories).ensure({
      repositoryId: archiveId,
      tenantId,
      quotaBytes: null,
      minimumAgeSeconds: minimumAgeDays * 86_400,
    });
    await this.second.rows(
      `INSERT INTO archive_kept_copy (archive_id, tenant_id, workload_id, first) VALUES ($1, $2, $3, $4)`,
      [archiveId, tenantId, workloadId, JSON.stringify(this.peer(this.first))],
    );
  }

  private peer({ siteId }: CareUnderTest): PeerSite {
    const certificateFingerprint = '0'.repeat(64);
    return { siteId, host: '127.0.0.1', port: 1, certificateFingerprint, publicKey: randomUUID() };
  }
}
