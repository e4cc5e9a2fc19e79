export { InternalEndpoint } from './internal-endpoint.js';
export * from './logger.js';
export * from './metric.js';
export { type Collector, Metrics } from './metrics.js';
export { ProcessHealth } from './process-health.js';
export type { OpenSpan, SpanAttributes, SpanOptions } from './span.js';
export {
  continueTrace,
  currentTraceIds,
  currentTraceparent,
  inSpan,
  isTracing,
  openSpan,
  startTracing,
  withSpan,
} from './tracing.js';
