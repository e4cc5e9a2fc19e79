import { Injectable } from '@nestjs/common';
import { z } from 'zod';
import type { ProviderTransaction, TenantTransaction } from '#libs/platform/database';
import { cursorTime, decodeCursor, type Page, type PageQuery, toPage } from '#libs/platform/http';
import { type Notice, NOTICE_SEVERITIES } from './notice.js';

export const noticeView = z
  .object({
    id: z.uuid(),
    kind: z.string(),
    severity: z.enum(NOTICE_SEVERITIES),
    title: z.string(),
    text: z.string(),
    subjectIds: z.record(z.string(), z.string()),
    raisedAt: z.iso.datetime(),
    repeats: z.int().meta({ description: 'How often it was raised again within the hour, and not told again.' }),
    lastRaisedAt: z.iso.datetime(),
  })
  .meta({ id: 'Notice' });
export type NoticeView = z.infer<typeof noticeView>;

interface Row {
  readonly id: string;
  readonly kind: string;
  readonly severity: NoticeView['severity'];
  readonly title: string;
  readonly text: string;
  readonly subject_ids: Record<string, string>;
  readonly created_at: Date;
  readonly created_text: string;
  readonly repeats: number;
  readonly last_raised_at: Date;
}

const view = (row: Row): NoticeView => ({
  id: row.id,
  kind: row.kind,
  severity: row.severity,
  title: row.title,
  text: row.text,
  subjectIds: row.subject_ids,
  raisedAt: row.created_at.toISOString(),
  repeats: row.repeats,
  lastRaisedAt: row.last_raised_at.toISOString(),
});

/** Notices with one key within this time are one. */
const REPEAT_MINUTES = 60;
const cursor = z.tuple([cursorTime, z.uuid()]);

/** The notices of an agency, as rows. */
@Injectable()
export class Notices {
  /** Keeps a notice. False when one with its key was kept within the hour: then it only counts as a repetition. */
  async keep(tx: ProviderTransaction, id: string, tenantId: string, notice: Notice): Promise<boolean> {
    // Two deliveries at once must not both find none.
    await tx.query(`SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, [`notice ${tenantId} ${notice.dedupeKey}`]);
    const repeated = await tx.execute(
      `UPDATE notice SET repeats = repeats + 1, last_raised_at = now()
        WHERE tenant_id = $1 AND dedupe_key = $2 AND created_at > now() - make_interval(mins => $3)`,
      [tenantId, notice.dedupeKey, REPEAT_MINUTES],
    );
    if (repeated > 0) return false;
    await tx.execute(
      `INSERT INTO notice (tenant_id, id, kind, severity, title, text, subject_ids, dedupe_key)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
      [
        tenantId,
        id,
        notice.kind,
        notice.severity,
        notice.title,
        notice.text,
        JSON.stringify(notice.subjectIds),
        notice.dedupeKey,
      ],
    );
    return true;
  }

  /** Newest first. */
  async list(tx: TenantTransaction, page: PageQuery): Promise<Page<NoticeView>> {
    const [beforeTime, beforeId] = decodeCursor(page.cursor, cursor) ?? [null, null];
    const rows = await tx.query<Row>(
      `SELECT *, created_at::text AS created_text FROM notice
        WHERE tenant_id = $1 AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3::uuid))
        ORDER BY created_at DESC, id DESC LIMIT $4`,
      [tx.tenantId, beforeTime, beforeId, page.limit + 1],
    );
    return toPage(rows, page.limit, (row) => [row.created_text, row.id], view);
  }
}
