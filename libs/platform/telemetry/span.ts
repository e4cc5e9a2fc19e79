/**
 * What a span says of itself: ids, counts, states. Never a secret, an address or an agency's data, since spans leave
 * this machine. An undefined value is left out.
 */
export type SpanAttributes = Readonly<Record<string, string | number | boolean | undefined>>;

export interface SpanOptions {
  /** `internal` unless told; see OpenTelemetry's span kinds. */
  readonly kind?: 'internal' | 'server' | 'client' | 'producer' | 'consumer';
  readonly attributes?: SpanAttributes;
  /**
   * The W3C traceparent that this continues, as a header or a row has it; one that cannot be read begins a new trace.
   * Left out: the span in force here.
   */
  readonly parent?: string | null | undefined;
}

/** A span that has begun. */
export interface OpenSpan {
  /** For the row or the header that hands the trace on; undefined while nothing is traced. */
  readonly traceparent: string | undefined;
  readonly ids: TraceIds | undefined;
  name(name: string): void;
  set(attributes: SpanAttributes): void;
  /** Marks it failed, with the error's type and code. Its text stays in our logs: it may quote what it was given. */
  fail(error: unknown): void;
  end(): void;
}

/** As log lines carry them. */
export interface TraceIds {
  readonly traceId: string;
  readonly spanId: string;
}

/** Makes spans; see `otlp.ts`, which is loaded only where traces are wanted. */
export interface Tracer {
  open(name: string, options: SpanOptions, parent: OpenSpan | undefined): OpenSpan;
  close(): Promise<void>;
}

export interface TracingSettings {
  /** The process, for example `site Olympia metro`: the resource's `service.name` is `mainstay-site`. */
  readonly process: string;
  /** Base address of an OTLP/HTTP receiver, for example `http://127.0.0.1:4318`; spans go to `/v1/traces` below it. */
  readonly endpoint: string;
}
