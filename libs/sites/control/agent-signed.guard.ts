import { applyDecorators, type CanActivate, type ExecutionContext, Injectable, UseGuards } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { AGENT_AUTHORIZATION_SCHEME, agentProof } from '#contracts/sites';
import { verifyDocument } from '#libs/link';
import { isUuid, UnitOfWork } from '#libs/platform/database';
import { Access } from '#libs/platform/http';
import { AgentChallenges, readAgentKey } from './agent-challenge.js';
import { AgentProofInvalidError, AgentRevokedError } from './sites.errors.js';

interface KeyRow {
  readonly tenantId: string;
  readonly publicKey: string;
  readonly revokedAt: Date | null;
}

/** Lets an agent in that signed a fresh challenge of ours with the key it made at enrolment. */
@Injectable()
export class AgentGuard implements CanActivate {
  constructor(
    private readonly work: UnitOfWork,
    private readonly challenges: AgentChallenges,
  ) {}

  /** @throws AgentProofInvalidError, AgentRevokedError */
  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const [scheme, proof] = (request.headers.authorization ?? '').split(' ');
    const [agentId, challenge, signature] = (proof ?? '').split(':');
    if (scheme !== AGENT_AUTHORIZATION_SCHEME || !agentId || !challenge || !signature || !isUuid(agentId)) {
      throw new AgentProofInvalidError();
    }
    const [row] = await this.work.lookUp((tx) =>
      tx.query<KeyRow>(
        `SELECT tenant_id AS "tenantId", public_key AS "publicKey", revoked_at AS "revokedAt" FROM agent WHERE id = $1`,
        [agentId],
      ),
    );
    const key = row && readAgentKey(row.publicKey);
    const path = request.url.split('?')[0] ?? '';
    const proved =
      key !== undefined &&
      this.challenges.holds(challenge) &&
      verifyDocument(agentProof(agentId, challenge, path), signature, key);
    if (!row || !proved) throw new AgentProofInvalidError();
    // Only an agent that has proved itself learns that it was revoked.
    if (row.revokedAt !== null) throw new AgentRevokedError();
    request.principal = { kind: 'agent', id: agentId, tenantId: row.tenantId };
    return true;
  }
}

/** Only an agent may call this route, about itself. */
export const AgentSigned = (): MethodDecorator & ClassDecorator =>
  applyDecorators(Access('agent'), UseGuards(AgentGuard));
