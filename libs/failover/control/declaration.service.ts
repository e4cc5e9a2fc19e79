import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import type { AcceptedLoss, OldServerFate } from '#contracts/failover';
import type { Actor } from '#libs/audit/control';
import { type TenantTransaction, UnitOfWork } from '#libs/platform/database';
import {
  DegradeGrants,
  type KeptHealth,
  ProtectionDuringFailover,
  type ProtectionRow,
} from '#libs/replication/control';
import { FailoverOpenError, LossNotAcceptedError, type Missing, OldServerNotSaidError } from './failover.errors.js';
import { FailoverRecord } from './runs/failover-record.js';
import { armedNow, covers, mustSayOldServer, NOTHING_LOST, type Prospect, prospectOf, toAccept } from './loss.js';
import { FATES, Outlooks, type Pair } from './outlook.service.js';
import { RunOrders } from './runs/run-orders.js';
import { Runs, type RunView } from './runs/run.service.js';
import { chooseSite, otherSite, passesOver } from './target.js';

export interface DeclarationInput {
  readonly reason: string;
  readonly siteId?: string | undefined;
  readonly acceptLoss: AcceptedLoss;
  readonly oldServer: OldServerFate;
}

/** The sites must be asked before this declaration can be judged: not an answer to anybody. */
class AskFirst extends Error {
  constructor(readonly pair: Pair) {
    super('the sites must be asked first');
  }
}

interface Situation {
  readonly protection: ProtectionRow;
  readonly siteId: string;
  readonly kept: readonly KeptHealth[];
  readonly noDegradeGranted: boolean;
  readonly regionalGranted: boolean;
  readonly prospect: Prospect;
}

/** Takes an authorised person's or key's order to fail over. */
@Injectable()
export class Declarations {
  constructor(
    private readonly work: UnitOfWork,
    private readonly protections: ProtectionDuringFailover,
    private readonly grants: DegradeGrants,
    private readonly outlooks: Outlooks,
    private readonly runOrders: RunOrders,
    private readonly record: FailoverRecord,
    private readonly runs: Runs,
  ) {}

  /**
   * Declares a failover: the declaration, its run and the signed order to the site are one transaction, in which the
   * workload's row is held, so that no grant to degrade slips past it and no second run opens.
   *
   * While an armed lease is in force nobody is asked anything first. Else the sites say what would be lost, and the
   * declaration is refused unless it accepts that. A site that was not heard lately is asked before it is passed over, too.
   *
   * @throws NotFoundError, NotProtectedError, ProtectionNotReadyError, FailoverOpenError, NotAStandbySiteError,
   *   AlreadyThereError, LossNotAcceptedError, OldServerNotSaidError
   */
  async declare(tenantId: string, workloadId: string, input: DeclarationInput, actor: Actor): Promise<RunView> {
    try {
      return await this.work.tenant(tenantId, (tx) => this.declareIn(tx, workloadId, input, actor, undefined));
    } catch (error) {
      if (!(error instanceof AskFirst)) throw error;
      const { siteId, prospect } = await this.outlooks.prospect(error.pair, input.siteId);
      const asked = { ...input, siteId };
      return this.work.tenant(tenantId, (tx) => this.declareIn(tx, workloadId, asked, actor, prospect));
    }
  }

  private async declareIn(
    tx: TenantTransaction,
    workloadId: string,
    input: DeclarationInput,
    actor: Actor,
    answered: Prospect | undefined,
  ): Promise<RunView> {
    const protection = await this.protections.hold(tx, workloadId);
    const open = await this.record.openRun(tx, workloadId);
    if (open) throw new FailoverOpenError(open);
    const situation = await this.judge(tx, protection, input, answered);
    await this.protections.declared(tx, protection);
    const runId = randomUUID();
    const epoch = await this.record.nextEpoch(tx, protection);
    const number = await this.record.nextNumber(tx);
    const { siteId, noDegradeGranted, regionalGranted } = situation;
    const order = await this.runOrders.issue(tx, siteId, otherSite(protection, siteId), {
      runId,
      workloadId,
      declaration: number,
      epoch,
      oldServer: input.oldServer,
      acceptedLoss: input.acceptLoss,
      noDegradeGranted,
      ...(regionalGranted && { regionalGranted }),
      names: protection.names,
    });
    await this.record.write(tx, { runId, orderId: order.id, number, epoch, input, actor, ...situation });
    return this.runs.get(tx, runId);
  }

  private async judge(
    tx: TenantTransaction,
    protection: ProtectionRow,
    input: DeclarationInput,
    answered: Prospect | undefined,
  ): Promise<Situation> {
    const kept = await this.outlooks.kept(tx, protection);
    const siteId = chooseSite(protection, kept, input.siteId);
    const evidence = await this.grants.evidence(tx, protection, siteId);
    const measured = kept.find((one) => one.siteId === siteId);
    const said = input.oldServer !== 'not-asked';
    let prospect = answered;
    if (!prospect && !passesOver(protection, kept, input.siteId)) {
      if (armedNow(measured)) prospect = NOTHING_LOST;
      // Whoever accepts any loss and has said how the old server stopped need not wait for the site's answer.
      else if (input.acceptLoss.kind === 'unknown' && said) prospect = prospectOf(null, null);
    }
    if (!prospect) throw new AskFirst(await this.outlooks.pair(tx, protection));
    const { loss, armed, bytesBehind } = prospect;
    const mustSay = mustSayOldServer(protection, loss);
    const send = { acceptLoss: toAccept(loss), oldServer: mustSay ? FATES : ('not-asked' as const) };
    const missing: Missing = { siteId, loss, armed, bytesBehind, send };
    if (!covers(input.acceptLoss, loss)) throw new LossNotAcceptedError(missing);
    if (mustSay && !said) throw new OldServerNotSaidError(missing);
    return { protection, siteId, kept, ...evidence, prospect };
  }
}
