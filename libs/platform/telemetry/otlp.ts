import {
  type Context,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { AlwaysOnSampler, BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import { errorCode } from '#libs/platform/errors';
import type { OpenSpan, SpanAttributes, SpanOptions, Tracer, TracingSettings } from './span.js';

const KINDS: Readonly<Record<NonNullable<SpanOptions['kind']>, SpanKind>> = {
  internal: SpanKind.INTERNAL,
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
};

const SEND_EVERY_MS = 1_000;
const LAST_SEND_MS = 5_000;

/** W3C Trace Context, level 1: version, trace id, span id, flags; neither id may be all zeros. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:$|-)/;

function contextOf(traceparent: string): Context {
  const [, traceId, spanId, flags] = TRACEPARENT.exec(traceparent) ?? [];
  if (traceId === undefined || spanId === undefined) return ROOT_CONTEXT;
  const traceFlags = Number.parseInt(flags ?? '00', 16) & TraceFlags.SAMPLED;
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true });
}

const traceparentOf = ({ traceId, spanId, traceFlags }: SpanContext): string =>
  `00-${traceId}-${spanId}-${(traceFlags & TraceFlags.SAMPLED).toString(16).padStart(2, '0')}`;

class SdkSpan implements OpenSpan {
  readonly traceparent: string;
  readonly ids: { readonly traceId: string; readonly spanId: string };

  constructor(readonly span: Span) {
    const context = span.spanContext();
    this.traceparent = traceparentOf(context);
    this.ids = { traceId: context.traceId, spanId: context.spanId };
  }

  name(name: string): void {
    this.span.updateName(name);
  }

  set(attributes: SpanAttributes): void {
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== undefined) this.span.setAttribute(key, value);
    }
  }

  fail(error: unknown): void {
    this.span.setStatus({ code: SpanStatusCode.ERROR });
    this.set({
      'error.type': error instanceof Error ? error.name : 'unknown',
      'mainstay.error_code': errorCode(error),
    });
  }

  end(): void {
    this.span.end();
  }
}

/**
 * Sends spans to an OTLP/HTTP receiver as JSON, in batches, from memory: a receiver that is away costs spans, never a
 * request. Every span is sent, also where a caller samples its own: declarations are few, and each is wanted whole.
 */
export function otlpTracer({ process: name, endpoint }: TracingSettings): Tracer {
  const [kind = name] = name.split(' ');
  const provider = new TracerProvider({
    resource: resourceFromAttributes({
      'service.name': `mainstay-${kind}`,
      'service.instance.id': `${name} ${process.pid}`,
    }),
    sampler: new AlwaysOnSampler(),
    spanProcessors: [
      new BatchSpanProcessor({
        exporter: new OTLPTraceExporter({ url: `${endpoint.replace(/\/$/, '')}/v1/traces`, timeoutMillis: 5_000 }),
        scheduledDelayMillis: SEND_EVERY_MS,
      }),
    ],
  });
  const tracer = provider.getTracer('mainstay');
  return {
    open(spanName, { kind: spanKind, attributes, parent }, current) {
      const inherited = current instanceof SdkSpan ? trace.setSpan(ROOT_CONTEXT, current.span) : ROOT_CONTEXT;
      const context = typeof parent === 'string' ? contextOf(parent) : inherited;
      const span = new SdkSpan(tracer.startSpan(spanName, { kind: KINDS[spanKind ?? 'internal'] }, context));
      if (attributes) span.set(attributes);
      return span;
    },
    async close() {
      const enough = Promise.withResolvers<void>();
      const timer = setTimeout(enough.resolve, LAST_SEND_MS);
      // What cannot be sent any more is lost: a stop must not hang on a receiver.
      await Promise.race([provider.shutdown().catch(() => undefined), enough.promise]);
      clearTimeout(timer);
    },
  };
}
