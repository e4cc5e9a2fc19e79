import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import type { AgentAssignment, EnrolRequest } from '#contracts/sites';
import { type Actor, Audit } from '#libs/audit/control';
import { Clock } from '#libs/platform/clock';
import { type ProviderTransaction, type TenantTransaction, UnitOfWork } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { HandedOutByMembers, requirePlace } from '#libs/tenancy/control';
import type { Location } from '../geography.js';
import { Sites } from '../site.service.js';
import { readAgentKey } from './agent-challenge.js';
import { AGENTS, ENROLMENT_TOKENS } from './agent-quotas.js';
import { Agents } from './agent.service.js';
import {
  AgentKeyInvalidError,
  EnrolmentTokenExpiredError,
  EnrolmentTokenUnknownError,
  EnrolmentTokenUsedError,
  NoSiteError,
} from '../sites.errors.js';

export interface EnrolmentTokenInput {
  /** What the agent will be called. */
  readonly name: string;
  readonly location: Location | null;
  readonly validSeconds: number;
}

export interface EnrolmentTokenView {
  readonly id: string;
  readonly name: string;
  readonly createdAt: Date;
  readonly expiresAt: Date;
  readonly state: 'open' | 'used' | 'expired' | 'revoked';
  readonly agentId: string | null;
}

interface TokenRow extends EnrolmentTokenView {
  readonly tenantId: string;
  readonly latitude: number | null;
  readonly longitude: number | null;
}

/** How many sites an agent dials: the nearest, or any while its place is unknown and round trips must show. */
const SITES_KNOWN_PLACE = 4;
const SITES_UNKNOWN_PLACE = 6;

const TOKEN_COLUMNS = `tenant_id AS "tenantId", id, name, latitude, longitude, created_at AS "createdAt",
  expires_at AS "expiresAt", agent_id AS "agentId",
  CASE WHEN used_at IS NOT NULL THEN 'used' WHEN revoked_at IS NOT NULL THEN 'revoked'
       WHEN expires_at <= now() THEN 'expired' ELSE 'open' END AS state`;

const hashOf = (token: string): string => createHash('sha256').update(token).digest('hex');

/** One-time tokens by which an agent joins an agency. */
@Injectable()
export class Enrolment {
  constructor(
    private readonly work: UnitOfWork,
    private readonly agents: Agents,
    private readonly sites: Sites,
    private readonly audit: Audit,
    private readonly clock: Clock,
    private readonly handedOut: HandedOutByMembers,
  ) {}

  /** Makes a token. Its text is in this answer only: the database keeps its SHA-256. */
  async make(
    tx: TenantTransaction,
    input: EnrolmentTokenInput,
    actor: Actor,
  ): Promise<EnrolmentTokenView & { token: string }> {
    await requirePlace(tx, tx.tenantId, ENROLMENT_TOKENS);
    const id = randomUUID();
    const token = `mainstay_enrol_${randomBytes(24).toString('base64url')}`;
    const expiresAt = new Date(this.clock.now().getTime() + input.validSeconds * 1_000);
    const [row] = await tx.query<TokenRow>(
      `INSERT INTO enrolment_token (tenant_id, id, name, token_hash, latitude, longitude, expires_at, made_by)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING ${TOKEN_COLUMNS}`,
      [
        tx.tenantId,
        id,
        input.name,
        hashOf(token),
        input.location?.latitude ?? null,
        input.location?.longitude ?? null,
        expiresAt,
        actor.id,
      ],
    );
    await this.audit.record(tx, {
      tenantId: tx.tenantId,
      actor,
      action: 'enrolment-token.made',
      subjectKind: 'enrolment-token',
      subjectId: id,
      detail: { name: input.name, expiresAt: expiresAt.toISOString() },
    });
    return { ...(row as TokenRow), token };
  }

  async list(tx: TenantTransaction): Promise<EnrolmentTokenView[]> {
    return tx.query<TokenRow>(
      `SELECT ${TOKEN_COLUMNS} FROM enrolment_token WHERE tenant_id = $1 ORDER BY created_at DESC, id LIMIT 200`,
      [tx.tenantId],
    );
  }

  /** Withdraws a token that has not been used. @throws NotFoundError */
  async withdraw(tx: TenantTransaction, id: string, actor: Actor): Promise<void> {
    const changed = await tx.execute(
      `UPDATE enrolment_token SET revoked_at = coalesce(revoked_at, now()) WHERE tenant_id = $1 AND id = $2`,
      [tx.tenantId, id],
    );
    if (changed === 0) throw new NotFoundError('enrolment token');
    await this.recordWithdrawal(tx, id, actor);
  }

  /** Withdraws the unused tokens that these members and keys made. */
  async withdrawMadeBy(tx: TenantTransaction, makers: readonly string[], actor: Actor): Promise<void> {
    const rows = await tx.query<{ id: string }>(
      `UPDATE enrolment_token SET revoked_at = now()
        WHERE tenant_id = $1 AND made_by = ANY ($2::uuid[]) AND used_at IS NULL AND revoked_at IS NULL RETURNING id`,
      [tx.tenantId, makers],
    );
    for (const { id } of rows) await this.recordWithdrawal(tx, id, actor, { reason: 'who made it may no longer' });
  }

  private recordWithdrawal(
    tx: TenantTransaction,
    subjectId: string,
    actor: Actor,
    detail: Record<string, unknown> = {},
  ): Promise<void> {
    const { tenantId } = tx;
    const what = { action: 'enrolment-token.withdrawn', subjectKind: 'enrolment-token', subjectId };
    return this.audit.record(tx, { tenantId, actor, ...what, detail });
  }

  /**
   * Enrols an agent, in one transaction with the orders that admit it at its sites. A token counts once: of two that
   * use it at the same moment one waits for the other's row lock and is refused. An agent that repeats its own request,
   * because the answer was lost, gets the same answer. A token is void while its agency is suspended, and once who made it
   * may no longer make one.
   *
   * @throws EnrolmentTokenUnknownError, EnrolmentTokenUsedError, EnrolmentTokenExpiredError, AgentKeyInvalidError,
   *   NoSiteError, QuotaReachedError
   */
  async enrol(request: EnrolRequest): Promise<AgentAssignment> {
    const key = readAgentKey(request.publicKey);
    if (!key) throw new AgentKeyInvalidError();
    const publicKey = key.export({ type: 'spki', format: 'pem' }).toString();
    return this.work.provider(async (tx) => {
      const [token] = await tx.query<TokenRow & { readonly madeBy: string | null; readonly suspended: boolean }>(
        `SELECT ${TOKEN_COLUMNS}, made_by AS "madeBy",
                EXISTS (SELECT FROM agency a WHERE a.id = enrolment_token.tenant_id AND a.suspended_at IS NOT NULL) AS suspended
           FROM enrolment_token WHERE token_hash = $1 FOR UPDATE`,
        [hashOf(request.token)],
      );
      if (!token || token.suspended) throw new EnrolmentTokenUnknownError();
      if (token.state === 'used') {
        const known = token.agentId === null ? undefined : await this.agents.keyOf(tx, token.tenantId, token.agentId);
        if (known !== publicKey || token.agentId === null) throw new EnrolmentTokenUsedError();
        return this.agents.assignment(tx, token.tenantId, token.agentId);
      }
      if (token.state !== 'open') throw new EnrolmentTokenExpiredError();
      if (!(await this.handedOut.makerStillHas(tx, token.tenantId, token.madeBy, 'agents:write'))) {
        throw new EnrolmentTokenExpiredError();
      }
      await requirePlace(tx, token.tenantId, AGENTS);
      return this.admit(tx, token, { ...request, publicKey });
    });
  }

  private async admit(tx: ProviderTransaction, token: TokenRow, request: EnrolRequest): Promise<AgentAssignment> {
    const agentId = randomUUID();
    const { tenantId, name, latitude, longitude } = token;
    await tx.execute(
      `INSERT INTO agent (tenant_id, id, name, hostname, version, public_key, latitude, longitude)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
      [tenantId, agentId, name, request.hostname, request.version, request.publicKey, latitude, longitude],
    );
    await tx.execute(`UPDATE enrolment_token SET used_at = now(), agent_id = $3 WHERE tenant_id = $1 AND id = $2`, [
      tenantId,
      token.id,
      agentId,
    ]);
    const place = latitude === null || longitude === null ? null : { latitude, longitude };
    const sites = await this.sites.eligible(tx, place, null);
    if (sites.length === 0) throw new NoSiteError();
    const chosen = sites.slice(0, place === null ? SITES_UNKNOWN_PLACE : SITES_KNOWN_PLACE).map((site) => site.id);
    await this.agents.assign(tx, tenantId, agentId, chosen);
    await this.audit.record(tx, {
      tenantId,
      actor: { kind: 'agent', id: agentId, name },
      action: 'agent.enrolled',
      subjectKind: 'agent',
      subjectId: agentId,
      detail: { hostname: request.hostname, version: request.version, tokenId: token.id, sites: chosen },
    });
    return this.agents.assignment(tx, tenantId, agentId);
  }
}
