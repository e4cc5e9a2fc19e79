import { Injectable } from '@nestjs/common';
import { z } from 'zod';
import { Clock } from '#libs/platform/clock';
import type { Transaction } from '#libs/platform/database';
import { currentLogContext } from '#libs/platform/telemetry';
import { type AuditEntry, type AuditRecord, hashOf, PROVIDER_LOG } from './audit-entry.js';

interface Row {
  readonly number: string;
  readonly at: Date;
  readonly actor_kind: string;
  readonly actor_id: string | null;
  readonly actor_name: string;
  readonly action: string;
  readonly subject_kind: string;
  readonly subject_id: string | null;
  readonly detail: Record<string, unknown>;
  readonly request_id: string | null;
  readonly previous_hash: Buffer;
  readonly hash: Buffer;
}

const toEntry = (row: Row): AuditEntry => ({
  number: Number(row.number),
  at: row.at.toISOString(),
  actorKind: row.actor_kind,
  actorId: row.actor_id,
  actorName: row.actor_name,
  action: row.action,
  subjectKind: row.subject_kind,
  subjectId: row.subject_id,
  detail: row.detail,
  requestId: row.request_id,
  previousHash: row.previous_hash.toString('hex'),
  hash: row.hash.toString('hex'),
});

export interface AuditFilter {
  readonly action?: string | undefined;
  readonly subjectId?: string | undefined;
}

/** The sort key of a page of the log: the entry's number. */
export const auditCursor = z.tuple([z.int()]);

/** Each agency's log: append-only, a chain of hashes, written in the transaction of the change that it tells of. */
@Injectable()
export class Audit {
  constructor(private readonly clock: Clock) {}

  /**
   * Records what this transaction does. Call it last: it holds the agency's log until the transaction ends, so that
   * numbers have no gaps, and a fixed order keeps two changes from waiting for each other.
   */
  async record(tx: Transaction, record: AuditRecord): Promise<void> {
    const owner = record.tenantId ?? PROVIDER_LOG;
    const [head] = await tx.query<{ number: string; hash: Buffer }>(`SELECT number, hash FROM audit_lock_head($1)`, [
      owner,
    ]);
    if (!head) throw new Error('the audit log has no head');
    const entry: Omit<AuditEntry, 'hash'> = {
      number: Number(head.number) + 1,
      at: this.clock.now().toISOString(),
      actorKind: record.actor.kind,
      actorId: record.actor.id,
      actorName: record.actor.name,
      action: record.action,
      subjectKind: record.subjectKind,
      subjectId: record.subjectId,
      // Through JSON, so that what is hashed is what will be read: no undefined, no Date.
      detail: JSON.parse(JSON.stringify(record.detail ?? {})) as Record<string, unknown>,
      requestId: currentLogContext().requestId ?? null,
      previousHash: head.hash.toString('hex'),
    };
    await tx.execute(
      `INSERT INTO audit_entry (tenant_id, number, at, actor_kind, actor_id, actor_name, action, subject_kind, subject_id,
                                detail, request_id, previous_hash, hash)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
      [
        owner,
        entry.number,
        entry.at,
        entry.actorKind,
        entry.actorId,
        entry.actorName,
        entry.action,
        entry.subjectKind,
        entry.subjectId,
        JSON.stringify(entry.detail),
        entry.requestId,
        head.hash,
        Buffer.from(hashOf(entry), 'hex'),
      ],
    );
  }

  /** Entries below `before` (all, without it), newest first. */
  async list(
    tx: Transaction,
    tenantId: string,
    filter: AuditFilter & { readonly before?: number | undefined; readonly limit: number },
  ): Promise<AuditEntry[]> {
    const rows = await tx.query<Row>(
      `SELECT * FROM audit_entry
        WHERE tenant_id = $1 AND number < COALESCE($2, 9223372036854775807)
          AND ($3::text IS NULL OR action = $3) AND ($4::text IS NULL OR subject_id = $4)
        ORDER BY number DESC LIMIT $5`,
      [tenantId, filter.before ?? null, filter.action ?? null, filter.subjectId ?? null, filter.limit],
    );
    return rows.map(toEntry);
  }

  /** Up to `limit` entries above `after`, oldest first: the order in which their hashes are checked. */
  async following(tx: Transaction, tenantId: string, after: number, limit: number): Promise<AuditEntry[]> {
    const rows = await tx.query<Row>(
      `SELECT * FROM audit_entry WHERE tenant_id = $1 AND number > $2 ORDER BY number LIMIT $3`,
      [tenantId, after, limit],
    );
    return rows.map(toEntry);
  }
}
