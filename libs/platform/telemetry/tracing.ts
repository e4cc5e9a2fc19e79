import { AsyncLocalStorage } from 'node:async_hooks';
import type { OpenSpan, SpanOptions, TraceIds, Tracer, TracingSettings } from './span.js';

const NOTHING: OpenSpan = {
  traceparent: undefined,
  ids: undefined,
  name: () => undefined,
  set: () => undefined,
  fail: () => undefined,
  end: () => undefined,
};

const inForce = new AsyncLocalStorage<OpenSpan>();
let tracer: Tracer | undefined;
let users = 0;

/**
 * Begins to send spans, for the whole process. Nothing of OpenTelemetry is loaded before this, so that a process
 * without traces pays nothing for them. Calls in one process share the first one's settings.
 *
 * @returns ends it: what is not sent yet is sent first, for five seconds at most.
 */
export async function startTracing(settings: TracingSettings): Promise<() => Promise<void>> {
  users += 1;
  if (users === 1) {
    const { otlpTracer } = await import('./otlp.js');
    tracer = otlpTracer(settings);
  }
  let over = false;
  return async () => {
    if (over) return;
    over = true;
    users -= 1;
    if (users > 0) return;
    const last = tracer;
    tracer = undefined;
    await last?.close();
  };
}

/** Begins a span whose end is somewhere else, as with a request's hooks; {@link withSpan} is for all others. */
export const openSpan = (name: string, options: SpanOptions = {}): OpenSpan =>
  tracer?.open(name, options, inForce.getStore()) ?? NOTHING;

/** Runs `work` with this span in force: its log lines carry the ids, its spans are children. */
export const inSpan = <T>(span: OpenSpan, work: () => T): T => (span === NOTHING ? work() : inForce.run(span, work));

/** Runs `work` in a span of its own; what it throws marks the span failed, and is thrown on. */
export async function withSpan<T>(
  name: string,
  options: SpanOptions,
  work: (span: OpenSpan) => Promise<T> | T,
): Promise<T> {
  const span = openSpan(name, options);
  try {
    return await inSpan(span, async () => work(span));
  } catch (error) {
    span.fail(error);
    throw error;
  } finally {
    span.end();
  }
}

/**
 * Like {@link withSpan}, in the trace that a row or a message hands on; without a span when it hands none on, so that
 * what recurs or concerns no request begins no trace.
 */
export function continueTrace<T>(
  traceparent: string | null | undefined,
  name: string,
  options: Omit<SpanOptions, 'parent'>,
  work: () => Promise<T>,
): Promise<T> {
  return typeof traceparent === 'string' ? withSpan(name, { ...options, parent: traceparent }, work) : work();
}

/** The traceparent of the span in force, for a row or a message that hands the trace on; null when there is none. */
export const currentTraceparent = (): string | null => inForce.getStore()?.traceparent ?? null;

/** For log lines. */
export const currentTraceIds = (): TraceIds | undefined => inForce.getStore()?.ids;

/** True while spans are sent: for look-ups that only a trace needs. */
export const isTracing = (): boolean => tracer !== undefined;
