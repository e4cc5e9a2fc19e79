import { type ArgumentsHost, Catch, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { AppLogger } from '#libs/platform/nest';
import { type ProblemBody, toProblem } from './problem.js';

/** Sends a problem, with the headers that belong to its status. */
export function sendProblem(request: FastifyRequest, reply: FastifyReply, problem: ProblemBody): void {
  if (reply.sent || reply.raw.headersSent) {
    reply.raw.destroy();
    return;
  }
  if (problem.status === 401) void reply.header('WWW-Authenticate', 'Bearer');
  const retryAfter = problem.facts?.['retryAfterSeconds'];
  if (typeof retryAfter === 'number') void reply.header('Retry-After', String(Math.max(1, Math.ceil(retryAfter))));
  void reply
    .status(problem.status)
    .header('X-Request-Id', request.id)
    .header('Cache-Control', 'no-store')
    .type('application/problem+json; charset=utf-8')
    .send(JSON.stringify({ ...problem, requestId: request.id }));
}

/** Answers every error with problem details (RFC 9457); what is our fault goes to the log in full. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  constructor(private readonly logger: AppLogger) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const problem = toProblem(error);
    if (problem.status >= 500) this.logger.log.error({ err: error, status: problem.status }, 'a request failed');
    else if (problem.code === 'request.value-unfit') {
      // Refused by the database only: the route's schema should have, so it is worth a look.
      this.logger.log.warn({ err: error, status: problem.status }, 'a value was refused by the database');
    } else this.logger.log.debug({ err: error, status: problem.status }, 'a request was refused');
    sendProblem(http.getRequest<FastifyRequest>(), http.getResponse<FastifyReply>(), problem);
  }
}
