import { StandardSchemaValidationPipe } from '@nestjs/common';
import { z } from 'zod';
import { type Misfit, RequestInvalidError } from '../problem/problem.js';

type Issue = Readonly<{ message: string; path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined }>;

const escape = (segment: string): string => segment.replaceAll('~', '~0').replaceAll('/', '~1');

const misfit = (issue: Issue): Misfit => ({
  pointer: (issue.path ?? [])
    .map((segment) => `/${escape(String(typeof segment === 'object' ? segment.key : segment))}`)
    .join(''),
  message: issue.message,
});

/** Checks bodies, queries and path parameters against the zod schema that stands beside them: `@Body({ schema })`. */
export const validationPipe = (): StandardSchemaValidationPipe =>
  new StandardSchemaValidationPipe({
    exceptionFactory: (issues) => new RequestInvalidError(issues.slice(0, 50).map(misfit)),
  });

/** The path parameter `:id` and its like: `@Param('id', { schema: idParam })`. */
export const idParam = z.uuid();
