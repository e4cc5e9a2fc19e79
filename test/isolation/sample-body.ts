/** As much of JSON Schema 2020-12 as our schemas use. */
export interface JsonSchema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly minItems?: number;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly allOf?: readonly JsonSchema[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly format?: string;
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly default?: unknown;
}

/** Texts to try against a pattern, plain ones first. */
const TEXTS = [
  'Elm',
  'permits-desk',
  '/srv/permits',
  'vt',
  'VT',
  'a',
  '123456',
  '0/16B3748',
  '127.0.0.1',
  'a'.repeat(12),
  '0'.repeat(64),
  'AAAA'.repeat(11),
  '-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----',
];

/**
 * Makes a value that fits a schema. Every uuid in it is `id`, those of optional properties too: so a body refers to
 * the other agency's rows wherever a body can refer to a row.
 */
export class SampleBodies {
  /** Whether the value that was made last refers to a row. */
  refers = false;

  constructor(
    private readonly components: Readonly<Record<string, JsonSchema>>,
    private readonly id: string,
  ) {}

  make(schema: JsonSchema): unknown {
    this.refers = false;
    return this.value(schema);
  }

  private resolve(schema: JsonSchema): JsonSchema {
    if (schema.$ref === undefined) return schema;
    return this.components[schema.$ref.split('/').at(-1) ?? ''] ?? {};
  }

  private mentionsId(given: JsonSchema): boolean {
    const schema = this.resolve(given);
    return (
      schema.format === 'uuid' || [...(schema.anyOf ?? []), ...(schema.oneOf ?? [])].some((one) => this.mentionsId(one))
    );
  }

  private value(given: JsonSchema): unknown {
    const schema = this.resolve(given);
    if (schema.const !== undefined) return schema.const;
    if (schema.enum) return schema.enum[0];
    const [choice] = [...(schema.anyOf ?? []), ...(schema.oneOf ?? [])].sort(
      (a, b) => Number(this.mentionsId(b)) - Number(this.mentionsId(a)),
    );
    if (choice) return this.value(choice);
    if (schema.allOf) return Object.assign({}, ...schema.allOf.map((one) => this.value(one)));
    switch ((typeof schema.type === 'string' ? schema.type : schema.type?.[0]) ?? 'null') {
      case 'object':
        return this.object(schema);
      case 'array':
        return Array.from({ length: schema.minItems ?? (schema.items && this.mentionsId(schema.items) ? 1 : 0) }, () =>
          this.value(schema.items ?? {}),
        );
      case 'integer':
      case 'number':
        return Math.max(1, schema.minimum ?? 1, (schema.exclusiveMinimum ?? 0) + 1);
      case 'boolean':
        return false;
      case 'string':
        return this.text(schema);
      default:
        return null;
    }
  }

  private object(schema: JsonSchema): Record<string, unknown> {
    const made: Record<string, unknown> = {};
    for (const [name, property] of Object.entries(schema.properties ?? {})) {
      if (schema.required?.includes(name) || this.mentionsId(property)) made[name] = this.value(property);
    }
    return made;
  }

  private text(schema: JsonSchema): string {
    switch (schema.format ?? 'none') {
      case 'uuid':
        this.refers = true;
        return this.id;
      case 'date-time':
        return '2031-01-01T00:00:00Z';
      case 'email':
        return 'somebody@elm.example';
      case 'uri':
        return 'https://elm.example';
    }
    const { pattern, minLength = 0, maxLength = Infinity } = schema;
    const fits = (text: string): boolean =>
      text.length >= minLength &&
      text.length <= maxLength &&
      (pattern === undefined || new RegExp(pattern, 'u').test(text));
    return TEXTS.find(fits) ?? 'x'.repeat(minLength);
  }
}
