import { z } from 'zod';

/** Where a process's figures and traces go; nothing of both unless it is asked for. */
export interface Observability {
  /** Where `/metrics` and the health of this process are served; null: not at all. */
  readonly metrics: { readonly host: string; readonly port: number } | null;
  /** Base address of an OTLP/HTTP receiver for traces; null: no traces are made. */
  readonly otlpEndpoint: string | null;
}

export const UNOBSERVED: Observability = { metrics: null, otlpEndpoint: null };

/** The settings of every process, beside its own: `schema.extend(observabilitySettings)`. */
export const observabilitySettings = {
  /** As OpenTelemetry names it; spans go to `/v1/traces` below it. Traces are off without it. */
  OTEL_EXPORTER_OTLP_ENDPOINT: z
    .url({ protocol: /^https?$/, error: 'must be an http:// or https:// address, such as http://127.0.0.1:4318' })
    .optional(),
  /** Loopback unless told: it answers whoever reaches it. */
  METRICS_HOST: z.string().min(1).default('127.0.0.1'),
  /** 0 or absent: not served. */
  METRICS_PORT: z.coerce.number().int().min(0).max(65_535).default(0),
};

interface Read {
  readonly OTEL_EXPORTER_OTLP_ENDPOINT?: string | undefined;
  readonly METRICS_HOST: string;
  readonly METRICS_PORT: number;
}

export const observabilityOf = (read: Read): Observability => ({
  metrics: read.METRICS_PORT === 0 ? null : { host: read.METRICS_HOST, port: read.METRICS_PORT },
  otlpEndpoint: read.OTEL_EXPORTER_OTLP_ENDPOINT ?? null,
});
