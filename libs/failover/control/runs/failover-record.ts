import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import type { AcceptedLoss, OldServerFate } from '#contracts/failover';
import { type Actor, Audit } from '#libs/audit/control';
import { noticeRaised } from '#libs/notifications/control';
import type { TenantTransaction } from '#libs/platform/database';
import { Outbox } from '#libs/platform/outbox';
import type { KeptHealth, ProtectionRow } from '#libs/replication/control';
import { FINAL_STATES } from '../failover.states.js';
import type { Prospect } from '../loss.js';

export interface DeclarationRecord {
  readonly runId: string;
  readonly orderId: string;
  readonly number: number;
  readonly epoch: number;
  readonly input: { readonly reason: string; readonly acceptLoss: AcceptedLoss; readonly oldServer: OldServerFate };
  readonly actor: Actor;
  readonly protection: ProtectionRow;
  readonly siteId: string;
  readonly kept: readonly KeptHealth[];
  readonly noDegradeGranted: boolean;
  readonly prospect: Prospect;
}

/** Writes declarations, which nobody can alter afterwards (a trigger refuses it even to the owner). */
@Injectable()
export class FailoverRecord {
  constructor(
    private readonly outbox: Outbox,
    private readonly audit: Audit,
  ) {}

  async openRun(
    tx: TenantTransaction,
    workloadId: string,
  ): Promise<{ id: string; declaration: number; state: string } | undefined> {
    const [row] = await tx.query<{ id: string; declaration: number; state: string }>(
      `SELECT id, declaration_number AS declaration, state FROM failover_run
        WHERE tenant_id = $1 AND workload_id = $2 AND state <> ALL($3)`,
      [tx.tenantId, workloadId, FINAL_STATES],
    );
    return row;
  }

  /** One above every epoch that any run has had: a cancelled one may have fenced the agency with its own. */
  async nextEpoch(tx: TenantTransaction, protection: ProtectionRow): Promise<number> {
    const [row] = await tx.query<{ epoch: number }>(
      `SELECT greatest(coalesce(max(epoch), 0), $3::int) + 1 AS epoch FROM failover_run
        WHERE tenant_id = $1 AND workload_id = $2`,
      [tx.tenantId, protection.workloadId, protection.epoch],
    );
    return row?.epoch ?? protection.epoch + 1;
  }

  /** Numbers rise by one in each agency, without gaps: the counter's row is held until the transaction ends. */
  async nextNumber(tx: TenantTransaction): Promise<number> {
    const [row] = await tx.query<{ last: number }>(
      `INSERT INTO declaration_counter (tenant_id, last) VALUES ($1, 1)
       ON CONFLICT (tenant_id) DO UPDATE SET last = declaration_counter.last + 1 RETURNING last`,
      [tx.tenantId],
    );
    return row?.last ?? 1;
  }

  async write(tx: TenantTransaction, declared: DeclarationRecord): Promise<void> {
    const { input, protection, runId, siteId, number, epoch, actor } = declared;
    const declarationId = randomUUID();
    const { kept, noDegradeGranted, prospect } = declared;
    await tx.execute(
      `INSERT INTO declaration (tenant_id, number, id, workload_id, site_id, reason, accepted_loss, old_server, known,
                                declared_by)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
      [
        tx.tenantId,
        number,
        declarationId,
        protection.workloadId,
        siteId,
        input.reason,
        JSON.stringify(input.acceptLoss),
        input.oldServer,
        JSON.stringify({ mode: protection.mode, noDegradeGranted, prospect, measurements: kept }),
        JSON.stringify(actor),
      ],
    );
    await tx.execute(
      `INSERT INTO failover_run (tenant_id, id, workload_id, declaration_id, declaration_number, site_id, order_id, epoch,
                                 state)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'accepted')`,
      [tx.tenantId, runId, protection.workloadId, declarationId, number, siteId, declared.orderId, epoch],
    );
    await this.outbox.publish(tx, noticeRaised, tx.tenantId, {
      kind: 'failover.declared',
      severity: 'alarm',
      title: `${protection.workloadName}: failover declared (declaration ${number})`,
      text: `${actor.name} declared the failover of ${protection.workloadName}: ${input.reason}\nFollow it at /v1/failovers/${runId}.`,
      subjectIds: { workloadId: protection.workloadId, runId },
      dedupeKey: `failover.declared ${runId}`,
    });
    await this.audit.record(tx, {
      tenantId: tx.tenantId,
      actor,
      action: 'failover.declared',
      subjectKind: 'workload',
      subjectId: protection.workloadId,
      detail: { runId, declaration: number, siteId, epoch, ...input, loss: prospect.loss, noDegradeGranted },
    });
  }

  /** Keeps what a person added to a declaration later on. */
  async add(
    tx: TenantTransaction,
    runId: string,
    said: {
      readonly kind: 'confirm' | 'cancel';
      readonly acceptLoss?: AcceptedLoss;
      readonly oldServer?: OldServerFate;
    },
    actor: Actor,
  ): Promise<void> {
    await tx.execute(
      `INSERT INTO declaration_addition (tenant_id, id, declaration_id, kind, accepted_loss, old_server, said_by)
       SELECT tenant_id, $3, declaration_id, $4, $5, $6, $7 FROM failover_run WHERE tenant_id = $1 AND id = $2`,
      [
        tx.tenantId,
        runId,
        randomUUID(),
        said.kind,
        said.acceptLoss ? JSON.stringify(said.acceptLoss) : null,
        said.oldServer ?? null,
        JSON.stringify(actor),
      ],
    );
    await this.audit.record(tx, {
      tenantId: tx.tenantId,
      actor,
      action: said.kind === 'confirm' ? 'failover.confirmed' : 'failover.cancel-asked',
      subjectKind: 'failover',
      subjectId: runId,
      detail: { ...said },
    });
  }
}
