import type { INestApplication } from '@nestjs/common';
import { DocumentBuilder, type OpenAPIObject, SwaggerModule } from '@nestjs/swagger';
import { z } from 'zod';
import type { HttpOptions } from '../http-options.js';
import { problem } from '../problem/problem.js';

interface JsonSchema {
  readonly [keyword: string]: unknown;
}

interface StandardJsonSchema {
  readonly '~standard': {
    readonly jsonSchema?: Readonly<Record<'input' | 'output', (options: { target: string }) => JsonSchema>>;
  };
}

/** Formats that say all; zod's patterns beside them are longer than the rest of the document. */
const PLAIN_FORMATS = new Set(['uuid', 'date-time', 'email', 'uri']);

/** A schema without the mark of its dialect, which the document names once for all. */
function withoutDialect(schema: JsonSchema): JsonSchema {
  const { $schema, ...rest } = schema;
  return $schema === undefined ? schema : rest;
}

/** Answers may gain fields: a client must not take their schemas as closed. */
function simplify(value: unknown, answer: boolean): unknown {
  if (Array.isArray(value)) return value.map((one) => simplify(one, answer));
  if (typeof value !== 'object' || value === null) return value;
  const schema = value as JsonSchema;
  return Object.fromEntries(
    Object.entries(schema)
      .filter(([name]) => !(name === 'pattern' && PLAIN_FORMATS.has(String(schema['format']))))
      .filter(([name, of]) => !(answer && name === 'additionalProperties' && of === false))
      .map(([name, of]) => [name, simplify(of, answer)]),
  );
}

/**
 * zod's schemas as JSON Schema 2020-12, which OpenAPI 3.1 speaks; the converter of @nestjs/swagger would write 3.0's
 * dialect (facts: zod 4 with Nest 12).
 */
function convert(schema: unknown, { schemaType }: { schemaType: 'input' | 'output' }) {
  const make = (schema as StandardJsonSchema)['~standard'].jsonSchema?.[schemaType];
  if (!make) return undefined;
  const { $defs, ...converted } = simplify(
    withoutDialect(make({ target: 'draft-2020-12' })),
    schemaType === 'output',
  ) as JsonSchema;
  return { schema: converted, components: ($defs ?? {}) as Record<string, JsonSchema> };
}

const METHODS = ['get', 'put', 'post', 'delete', 'patch'] as const;

const keyParameter = {
  name: 'Idempotency-Key',
  in: 'header' as const,
  required: false,
  description:
    'A fresh UUID for each change. A repetition with the same key within 24 hours gets the first answer again ' +
    '(header Idempotency-Replayed); another body under the same key gets 422, a repetition in flight 409.',
  schema: { type: 'string', minLength: 8, maxLength: 255 },
};

/** Adds what every operation has: problem answers, and on a POST the idempotency key. */
function complete(document: OpenAPIObject): OpenAPIObject {
  const schema = withoutDialect(z.toJSONSchema(problem));
  document.components = {
    ...document.components,
    schemas: { ...document.components?.schemas, Problem: schema as never },
  };
  for (const item of Object.values(document.paths)) {
    for (const method of METHODS) {
      const operation = item[method];
      if (!operation) continue;
      const parameters = operation.parameters ?? [];
      const hasKey = parameters.some((parameter) => 'name' in parameter && parameter.name === keyParameter.name);
      if (method === 'post' && !hasKey) operation.parameters = [...parameters, keyParameter];
      operation.responses = {
        ...operation.responses,
        default: {
          description: 'Problem details (RFC 9457).',
          content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
        },
      };
    }
  }
  return document;
}

/** `apiKeys_list`, for generated clients. */
const operationIdFactory = (controller: string, method: string): string =>
  `${controller.charAt(0).toLowerCase()}${controller.slice(1).replace(/Controller$/, '')}_${method}`;

/** The OpenAPI 3.1 document of all routes of this application. */
export function describeApi(
  app: INestApplication,
  options: Pick<HttpOptions, 'title' | 'version' | 'publicUrl'>,
): OpenAPIObject {
  const config = new DocumentBuilder()
    .setOpenAPIVersion('3.1.0')
    .setTitle(options.title)
    .setVersion(options.version)
    .setDescription('Errors are problem details (RFC 9457). Lists are pages with opaque cursors. Times are UTC.')
    .addServer(options.publicUrl)
    .addSecurity('apiKey', { type: 'http', scheme: 'bearer', description: 'An API key: mainstay_<env>_<id>_<secret>.' })
    .addSecurity('session', { type: 'http', scheme: 'bearer', description: 'The token of POST /v1/sessions.' })
    .addSecurity('staffSession', {
      type: 'http',
      scheme: 'bearer',
      description: 'The token of POST /v1/staff/sessions.',
    })
    .addSecurity('agentSignature', { type: 'http', scheme: 'signature', description: 'A request signed by an agent.' })
    .build();
  return complete(SwaggerModule.createDocument(app, config, { standardSchemaConverter: convert, operationIdFactory }));
}

/** Serves the document at /openapi.json and its page at /docs; both are made on the first request. */
export function serveApiPage(app: INestApplication, options: HttpOptions): void {
  let made: OpenAPIObject | undefined;
  SwaggerModule.setup('docs', app, () => (made ??= describeApi(app, options)), {
    jsonDocumentUrl: 'openapi.json',
    raw: ['json'],
    customSiteTitle: options.title,
  });
}
