import { Injectable } from '@nestjs/common';
import type { TenantTransaction, Transaction } from '#libs/platform/database';
import { Workloads } from '#libs/protection/control';
import { type ProtectionRow, ProtectionStore } from './protections/protection-store.js';
import { mayDeclare } from './protection.states.js';
import { ProtectionNotReadyError } from './replication.errors.js';

/** How a failover, which is a higher library's, moves the protection that it concerns. */
@Injectable()
export class ProtectionDuringFailover {
  constructor(
    private readonly store: ProtectionStore,
    private readonly workloads: Workloads,
  ) {}

  /** The protection, for the dry answer. @throws NotFoundError, NotProtectedError */
  async look(tx: TenantTransaction, workloadId: string): Promise<ProtectionRow> {
    await this.workloads.get(tx, workloadId);
    return this.store.get(tx, tx.tenantId, workloadId);
  }

  /** The same with the workload's row held, for a declaration. @throws NotFoundError, NotProtectedError */
  async hold(tx: TenantTransaction, workloadId: string): Promise<ProtectionRow> {
    await this.workloads.lock(tx, workloadId);
    return this.store.get(tx, tx.tenantId, workloadId);
  }

  /** Whether any network is listed from where clients may come to the front doors. */
  async admitsClients(tx: Transaction, tenantId: string, workloadId: string): Promise<boolean> {
    const row = await this.store.find(tx, tenantId, workloadId);
    return row !== undefined && row.clientNetworks.length > 0;
  }

  /** From here on nothing is changed and no grant to degrade given. @throws ProtectionNotReadyError */
  async declared(tx: TenantTransaction, protection: ProtectionRow): Promise<void> {
    const moved = await this.store.move(tx, tx.tenantId, protection.id, 'failing-over');
    if (!mayDeclare(protection.state) || !moved) {
      throw new ProtectionNotReadyError(
        protection.state,
        'There is no standby to fail over to: this workload is not protected yet, or its protection is being removed.',
      );
    }
  }

  /** The run ended without a promotion: production is where it was. */
  async abandoned(tx: Transaction, tenantId: string, workloadId: string): Promise<void> {
    const row = await this.store.find(tx, tenantId, workloadId);
    if (row?.state !== 'failing-over') return;
    await this.store.move(tx, tenantId, row.id, row.activeSiteId === null ? 'protecting' : 'failed-over');
  }

  /** The run promoted the workload at `siteId`. While a newer run is open, its declaration stays in force. */
  async promoted(
    tx: Transaction,
    workload: { readonly tenantId: string; readonly id: string; readonly epoch: number; readonly siteId: string },
    { newerRunOpen }: { readonly newerRunOpen: boolean },
  ): Promise<void> {
    const row = await this.store.find(tx, workload.tenantId, workload.id);
    if (row && !newerRunOpen) await this.store.move(tx, workload.tenantId, row.id, 'failed-over');
    await this.workloads.promoted(tx, workload);
  }
}
