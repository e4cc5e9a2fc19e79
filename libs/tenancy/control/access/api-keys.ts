import { Inject, Injectable } from '@nestjs/common';
import { createHash, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { Audit } from '#libs/audit/control';
import type { ProviderTransaction, TenantTransaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { cursorTime, decodeCursor, type Page, type PageQuery, toPage } from '#libs/platform/http';
import { plainText } from '../agencies/agency.js';
import type { TenantCaller } from './caller.js';
import { PERSONS_ONLY, type Role, type Scope, scope, scopesOfMember } from './scopes.js';
import { ScopesNotYoursError } from '../tenancy.errors.js';
import { type AgencyQuota, requirePlace } from '../agencies/quotas.js';
import { TENANCY_OPTIONS, type TenancyOptions } from '../tenancy.options.js';

export const apiKeyRequest = z.strictObject({
  name: plainText(80).meta({ description: 'What the key is for; stands in the audit log.' }),
  scopes: z
    .array(scope)
    .min(1)
    .max(40)
    .transform((scopes) => [...new Set(scopes)]),
  expiresInDays: z.int().min(1).max(730).default(365),
});
export type ApiKeyRequest = z.infer<typeof apiKeyRequest>;

export const apiKeyView = z
  .object({
    id: z.uuid(),
    name: z.string(),
    scopes: z.array(scope),
    madeBy: z.object({ id: z.uuid(), name: z.string() }),
    createdAt: z.iso.datetime(),
    expiresAt: z.iso.datetime(),
    lastUsedAt: z.iso.datetime().nullable().meta({ description: 'To the minute.' }),
    revokedAt: z.iso.datetime().nullable(),
  })
  .meta({ id: 'ApiKey' });
export type ApiKeyView = z.infer<typeof apiKeyView>;

/** The answer that shows a key, once. */
export const madeApiKey = apiKeyView.extend({
  key: z.string().meta({ description: 'The key itself. It is shown this once: Mainstay keeps only its hash.' }),
});

interface Row {
  readonly id: string;
  readonly tenant_id: string;
  readonly name: string;
  readonly scopes: Scope[];
  readonly secret_hash: Buffer;
  readonly made_by: string;
  readonly made_by_name: string;
  readonly created_at: Date;
  readonly expires_at: Date;
  readonly last_used_at: Date | null;
  readonly revoked_at: Date | null;
}

const view = (row: Row): ApiKeyView => ({
  id: row.id,
  name: row.name,
  scopes: row.scopes,
  madeBy: { id: row.made_by, name: row.made_by_name },
  createdAt: row.created_at.toISOString(),
  expiresAt: row.expires_at.toISOString(),
  lastUsedAt: row.last_used_at?.toISOString() ?? null,
  revokedAt: row.revoked_at?.toISOString() ?? null,
});

const KEY = /^mainstay_([a-z0-9-]+)_([0-9a-f]{32})_([A-Za-z0-9_-]{43})$/;
const hash = (secret: string): Buffer => createHash('sha256').update(secret).digest();
const toUuid = (hex: string): string => hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
const cursor = z.tuple([cursorTime, z.uuid()]);

/** True for what looks like an API key, so that a guard knows where to look. */
export const looksLikeApiKey = (credential: string): boolean => credential.startsWith('mainstay_');

const API_KEYS: AgencyQuota = {
  what: 'API keys that are in force',
  most: 200,
  count: `SELECT count(*)::int AS n FROM api_key WHERE tenant_id = $1 AND revoked_at IS NULL AND expires_at > now()`,
};

/** Keys for programs: scoped, expiring, shown once. A key can never do more than the member who made it. */
@Injectable()
export class ApiKeys {
  constructor(
    private readonly audit: Audit,
    @Inject(TENANCY_OPTIONS) private readonly options: TenancyOptions,
  ) {}

  /** @throws ScopesNotYoursError for scopes that the maker lacks or that no key may have, QuotaReachedError. */
  async make(
    tx: TenantTransaction,
    request: ApiKeyRequest,
    caller: TenantCaller,
  ): Promise<ApiKeyView & { key: string }> {
    const refused = request.scopes.filter((one) => PERSONS_ONLY.includes(one) || !caller.scopes.includes(one));
    if (refused.length > 0) throw new ScopesNotYoursError(refused);
    await requirePlace(tx, tx.tenantId, API_KEYS);
    const id = randomUUID();
    const secret = randomBytes(32).toString('base64url');
    const [row] = await tx.query<Row>(
      `INSERT INTO api_key (tenant_id, id, name, scopes, secret_hash, made_by, made_by_name, expires_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(days => $8)) RETURNING *`,
      [
        tx.tenantId,
        id,
        request.name,
        request.scopes,
        hash(secret),
        caller.actor.id,
        caller.actor.name,
        request.expiresInDays,
      ],
    );
    if (!row) throw new Error('the key was not written');
    await this.audit.record(tx, {
      tenantId: tx.tenantId,
      actor: caller.actor,
      action: 'api-key.made',
      subjectKind: 'api-key',
      subjectId: id,
      detail: { name: request.name, scopes: request.scopes, expiresAt: row.expires_at },
    });
    return { ...view(row), key: `mainstay_${this.options.environment}_${id.replaceAll('-', '')}_${secret}` };
  }

  async list(tx: TenantTransaction, page: PageQuery): Promise<Page<ApiKeyView>> {
    const [afterTime, afterId] = decodeCursor(page.cursor, cursor) ?? [null, null];
    const rows = await tx.query<Row & { created_text: string }>(
      `SELECT *, created_at::text AS created_text FROM api_key
        WHERE tenant_id = $1 AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3::uuid))
        ORDER BY created_at DESC, id DESC LIMIT $4`,
      [tx.tenantId, afterTime, afterId, page.limit + 1],
    );
    return toPage(rows, page.limit, (row) => [row.created_text, row.id], view);
  }

  /** @throws NotFoundError */
  async get(tx: TenantTransaction, id: string): Promise<ApiKeyView> {
    const [row] = await tx.query<Row>(`SELECT * FROM api_key WHERE tenant_id = $1 AND id = $2`, [tx.tenantId, id]);
    if (!row) throw new NotFoundError('API key');
    return view(row);
  }

  /** Revokes a key at once; revoking it again changes nothing. @throws NotFoundError */
  async revoke(tx: TenantTransaction, id: string, caller: TenantCaller): Promise<void> {
    await this.get(tx, id);
    const changed = await tx.execute(
      `UPDATE api_key SET revoked_at = now() WHERE tenant_id = $1 AND id = $2 AND revoked_at IS NULL`,
      [tx.tenantId, id],
    );
    if (changed === 0) return;
    await this.audit.record(tx, {
      tenantId: tx.tenantId,
      actor: caller.actor,
      action: 'api-key.revoked',
      subjectKind: 'api-key',
      subjectId: id,
    });
  }

  /**
   * The caller behind a key: one SELECT, and at most once a minute a note that it was used. Its scopes are those that
   * its maker still has; with the maker gone the key is void.
   */
  async caller(tx: ProviderTransaction, key: string): Promise<TenantCaller | undefined> {
    const [, environment, id, secret] = KEY.exec(key) ?? [];
    if (id === undefined || secret === undefined || environment !== this.options.environment) return undefined;
    const [row] = await tx.query<Row & { role: Role; may_declare: boolean; stale: boolean }>(
      `SELECT k.*, m.role, m.may_declare,
              (k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute') AS stale
         FROM api_key k
         JOIN member m ON m.tenant_id = k.tenant_id AND m.id = k.made_by
         JOIN agency a ON a.id = k.tenant_id
        WHERE k.id = $1 AND k.revoked_at IS NULL AND k.expires_at > now() AND a.suspended_at IS NULL`,
      [toUuid(id)],
    );
    if (!row || !timingSafeEqual(row.secret_hash, hash(secret))) return undefined;
    if (row.stale) await tx.execute(`UPDATE api_key SET last_used_at = now() WHERE id = $1`, [row.id]);
    const allowed = scopesOfMember(row.role, row.may_declare);
    const scopes = row.scopes.filter((one) => allowed.includes(one));
    return {
      tenantId: row.tenant_id,
      actor: { kind: 'api-key', id: row.id, name: `${row.name} (key of ${row.made_by_name})` },
      role: null,
      mayDeclare: scopes.includes('failovers:declare'),
      scopes,
    };
  }
}
