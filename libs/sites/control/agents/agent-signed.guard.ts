import {
  applyDecorators,
  type CanActivate,
  type ExecutionContext,
  Injectable,
  Optional,
  UseGuards,
} from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { AGENT_AUTHORIZATION_SCHEME, agentProof } from '#contracts/sites';
import { verifyDocument } from '#libs/link';
import { isUuid, UnitOfWork } from '#libs/platform/database';
import { Access, Doorkeeper } from '#libs/platform/http';
import { AgentProofInvalidError, AgentRevokedError } from '../sites.errors.js';
import { AgentChallenges, readAgentKey } from './agent-challenge.js';

interface KeyRow {
  readonly tenantId: string;
  readonly publicKey: string;
  readonly revokedAt: Date | null;
}

interface Proof {
  readonly agentId: string;
  readonly challenge: string;
  readonly signature: string;
  readonly path: string;
}

/** Lets an agent in that signed a fresh challenge of ours with the key it made at enrolment. */
@Injectable()
export class AgentGuard implements CanActivate {
  constructor(
    private readonly work: UnitOfWork,
    private readonly challenges: AgentChallenges,
    /** Where there is a border to guard: the worker has none. */
    @Optional() private readonly door?: Doorkeeper,
  ) {}

  /** @throws AgentProofInvalidError, AgentRevokedError */
  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const [scheme, proof] = (request.headers.authorization ?? '').split(' ');
    const [agentId, challenge, signature] = (proof ?? '').split(':');
    if (scheme !== AGENT_AUTHORIZATION_SCHEME || !agentId || !challenge || !signature || !isUuid(agentId)) {
      throw new AgentProofInvalidError();
    }
    const path = request.url.split('?')[0] ?? '';
    const lookUp = (): Promise<KeyRow | undefined> => this.proved({ agentId, challenge, signature, path });
    const row = await (this.door ? this.door.admit(request.ip, proof ?? '', lookUp, { once: true }) : lookUp());
    if (!row) throw new AgentProofInvalidError();
    // Only an agent that has proved itself learns that it was revoked.
    if (row.revokedAt !== null) throw new AgentRevokedError();
    request.principal = { kind: 'agent', id: agentId, tenantId: row.tenantId };
    return true;
  }

  /** The agent's row, when the proof is made with its key over a challenge of ours. */
  private async proved(given: Proof): Promise<KeyRow | undefined> {
    if (!this.challenges.holds(given.challenge)) return undefined;
    const [row] = await this.work.lookUp((tx) =>
      tx.query<KeyRow>(
        `SELECT tenant_id AS "tenantId", public_key AS "publicKey", revoked_at AS "revokedAt" FROM agent WHERE id = $1`,
        [given.agentId],
      ),
    );
    const key = row && readAgentKey(row.publicKey);
    if (!key) return undefined;
    const document = agentProof(given.agentId, given.challenge, given.path);
    return verifyDocument(document, given.signature, key) ? row : undefined;
  }
}

/** Only an agent may call this route, about itself. */
export const AgentSigned = (): MethodDecorator & ClassDecorator =>
  applyDecorators(Access('agent'), UseGuards(AgentGuard));
