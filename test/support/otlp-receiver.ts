import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';

/** A span as OTLP/HTTP carries it in JSON (opentelemetry.io/docs/specs/otlp, "JSON Protobuf encoding"). */
interface SentSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly attributes: readonly { readonly key: string; readonly value: Readonly<Record<string, unknown>> }[];
  readonly status: { readonly code?: number };
}

interface SentTraces {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: SentSpan['attributes'] };
    readonly scopeSpans: readonly { readonly spans: readonly SentSpan[] }[];
  }[];
}

export interface ReceivedSpan {
  readonly service: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  readonly name: string;
  readonly failed: boolean;
  readonly attributes: Readonly<Record<string, unknown>>;
}

const attributesOf = (sent: SentSpan['attributes']): Record<string, unknown> =>
  Object.fromEntries(
    sent.map(({ key, value }) => [key, 'intValue' in value ? Number(value['intValue']) : Object.values(value)[0]]),
  );

/** Takes traces in as an OpenTelemetry collector does, over OTLP/HTTP with JSON, and keeps them. */
export class OtlpReceiver {
  readonly spans: ReceivedSpan[] = [];
  private readonly server: Server;

  private constructor() {
    this.server = createServer((request, response) => {
      const answer = (status: number): void => void response.writeHead(status).end('{}');
      if (request.url !== '/v1/traces' || request.headers['content-type'] !== 'application/json') return answer(404);
      json(request).then(
        (body) => {
          this.keep(body as SentTraces);
          answer(200);
        },
        () => answer(400),
      );
    });
  }

  static async start(): Promise<OtlpReceiver> {
    const receiver = new OtlpReceiver();
    await new Promise<void>((resolve) => receiver.server.listen(0, '127.0.0.1', () => resolve()));
    return receiver;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** The first span of this name, whatever its trace; with these attributes, when any are named. */
  find(name: string, attributes: Readonly<Record<string, unknown>> = {}): ReceivedSpan | undefined {
    return this.spans.find(
      (span) =>
        span.name === name && Object.entries(attributes).every(([key, value]) => span.attributes[key] === value),
    );
  }

  /** Names from the root of its trace down to this span; ends early where a span has not been received. */
  path(span: ReceivedSpan): string[] {
    const parent = this.spans.find(({ traceId, spanId }) => traceId === span.traceId && spanId === span.parentSpanId);
    return [...(parent ? this.path(parent) : []), span.name];
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private keep({ resourceSpans }: SentTraces): void {
    for (const { resource, scopeSpans } of resourceSpans) {
      const service = String(attributesOf(resource.attributes)['service.name']);
      for (const { traceId, spanId, parentSpanId, name, status, attributes } of scopeSpans.flatMap(
        ({ spans }) => spans,
      )) {
        const parent = parentSpanId === undefined || parentSpanId === '' ? undefined : parentSpanId;
        const failed = status.code === 2;
        this.spans.push({
          ...{ service, traceId, spanId, parentSpanId: parent, name, failed },
          attributes: attributesOf(attributes),
        });
      }
    }
  }
}
