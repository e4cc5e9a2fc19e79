import { Body, Controller, Get, Post, Req } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import { agentAssignment, agentChallenge, enrolRequest, type EnrolRequest } from '#contracts/sites';
import { AssignedArchives } from '#libs/archive/control';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, Limit, NotSignedInError, Public } from '#libs/platform/http';
import { AssignedWorkloads, DegradeGrants } from '#libs/replication/control';
import { AgentChallenges, Agents, AgentSigned, Enrolment } from '#libs/sites/control';

/** What agents ask for themselves. */
@ApiTags('Agents')
@Controller('v1/agents')
export class AgentSelfController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly enrolment: Enrolment,
    private readonly agents: Agents,
    private readonly assigned: AssignedWorkloads,
    private readonly archives: AssignedArchives,
    private readonly grants: DegradeGrants,
    private readonly challenges: AgentChallenges,
  ) {}

  @Post('enrol')
  @Public()
  @Limit('enrol', 30, 60)
  @Answers({
    status: 201,
    summary: 'Enrols an agent with a one-time token and its own public key',
    schema: agentAssignment,
  })
  enrol(@Body({ schema: enrolRequest }) body: EnrolRequest) {
    return this.enrolment.enrol(body);
  }

  @Post('challenge')
  @Public()
  @Limit('agent-challenge', 600, 60)
  @Answers({ status: 200, summary: 'A challenge for an agent to sign', schema: agentChallenge })
  challenge() {
    return this.challenges.issue();
  }

  @Get('self')
  @AgentSigned()
  @Answers({
    status: 200,
    summary: 'Where the calling agent dials to, which sites it serves in what, and persons’ grants that are in force',
    description: 'Authorization: Mainstay-Agent agentId:challenge:signature, over the proof of a fresh challenge.',
    schema: agentAssignment,
  })
  self(@Req() request: FastifyRequest) {
    const { id, tenantId } = request.principal ?? {};
    if (id === undefined || tenantId === undefined || tenantId === null) throw new NotSignedInError();
    return this.work.tenant(tenantId, async (tx) => ({
      ...(await this.agents.assignment(tx, tenantId, id)),
      ...(await this.assigned.of(tx, tenantId, id)),
      ...(await this.archives.of(tx, tenantId, id)),
      ...(await this.grants.open(tx, tenantId, id)),
    }));
  }
}
