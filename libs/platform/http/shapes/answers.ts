import {
  applyDecorators,
  type CallHandler,
  type ExecutionContext,
  HttpCode,
  Injectable,
  type NestInterceptor,
  SetMetadata,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { ApiOperation, ApiResponse } from '@nestjs/swagger';
import { map, type Observable } from 'rxjs';
import type { z } from 'zod';

const ANSWER = Symbol('mainstay answer');

export interface Answer {
  readonly status: 200 | 201 | 202 | 204;
  /** One line for the OpenAPI page. */
  readonly summary: string;
  /** More, in Markdown. */
  readonly description?: string;
  /** What is answered (`z.object`, so that a column too many is dropped, not shown); left out for 204 and streams. */
  readonly schema?: z.ZodType;
  /** For answers that are streams: their media type. */
  readonly mediaType?: string;
}

/** Says what a route does and answers; makes its OpenAPI operation, and its body passes through the schema. */
export function Answers(answer: Answer): MethodDecorator {
  const { status, schema, summary, description, mediaType } = answer;
  return applyDecorators(
    HttpCode(status),
    SetMetadata(ANSWER, schema),
    ApiOperation(description === undefined ? { summary } : { summary, description }),
    ApiResponse({
      status,
      description: summary,
      ...(schema ? { standardSchema: schema } : {}),
      ...(mediaType ? { content: { [mediaType]: { schema: { type: 'string' } } } } : {}),
    }),
  );
}

/** The schema of what a route answers, if it answers a body. */
export const answerSchema = (reflector: Reflector, handler: () => unknown): z.ZodType | undefined =>
  reflector.get<z.ZodType | undefined>(ANSWER, handler);

/** Lets only what the route's schema names leave the process. */
@Injectable()
export class AnswerInterceptor implements NestInterceptor {
  constructor(private readonly reflector: Reflector) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const schema = answerSchema(this.reflector, context.getHandler() as () => unknown);
    return schema ? next.handle().pipe(map((value) => schema.parse(value))) : next.handle();
  }
}
