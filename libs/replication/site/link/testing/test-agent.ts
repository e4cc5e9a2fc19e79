import { randomUUID } from 'node:crypto';
import net, { type AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { pulseCommand, pulseRequest, type PulseRequest, type PulseWorkload } from '#contracts/replication';
import { connectTcp, createIdentity, type DialledSite, TunnelDialer, WorkloadRefusedError } from '#libs/link';
import { NotFoundError } from '#libs/platform/errors';
import { pulseSaid } from './pulse-said.js';

/** A server that says its name to whoever connects, and then what it hears, back. */
export class NamedServer {
  private readonly server: net.Server;
  private readonly sockets = new Set<net.Socket>();
  port = 0;

  constructor(name: string) {
    this.server = net.createServer((socket) => {
      this.sockets.add(socket);
      socket.on('error', () => undefined).once('close', () => this.sockets.delete(socket));
      socket.write(`${name}\n`);
      socket.pipe(socket);
    });
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', () => resolve()));
    this.port = (this.server.address() as AddressInfo).port;
    return this;
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}

/** What a client saw on a TCP address: its first line, and whether the connection has ended since. */
export async function connectClient(port: number, from = '127.0.0.1') {
  const socket = net.connect({ host: '127.0.0.1', port, localAddress: from });
  const state = { greeting: '', ended: false };
  socket.on('error', () => undefined).once('close', () => (state.ended = true));
  await new Promise<void>((resolve) => {
    socket.once('data', (data: Buffer) => {
      state.greeting = data.toString().trim();
      resolve();
    });
    socket.once('close', () => resolve());
  });
  return Object.assign(state, { close: () => socket.destroy() });
}

/** An agent with a real dialer and a server of one workload; what it answers to a pulse is the test's to say. */
export class TestAgent {
  readonly agentId = randomUUID();
  readonly identity = createIdentity();
  readonly pulses: { readonly at: number; readonly request: PulseRequest }[] = [];
  answer: Partial<PulseWorkload> = {};
  /** Called with each pulse before it is answered. */
  beforeAnswer: (request: PulseRequest) => Promise<void> = () => Promise.resolve();
  private dialer: TunnelDialer | undefined;

  constructor(
    private readonly workloads: Readonly<Record<string, NamedServer>>,
    identity?: { agentId: string; identity: ReturnType<typeof createIdentity> },
  ) {
    if (identity) Object.assign(this, identity);
  }

  dial(site: DialledSite): void {
    this.dialer = new TunnelDialer({
      agentId: this.agentId,
      identity: this.identity,
      version: 'test',
      sites: [site],
      handlers: {
        connectWorkload: (name) => {
          const server = this.workloads[name];
          return server
            ? connectTcp({ host: '127.0.0.1', port: server.port })
            : Promise.reject(new WorkloadRefusedError(name));
        },
        request: async (request) => {
          if (request.path === pulseCommand.path) return { json: await this.pulse(await request.json()) };
          if (request.path === '/v1/echo') return { json: await request.json() };
          if (request.path === '/v1/bytes') return { stream: Readable.from([Buffer.alloc(1_000_000, 7)]) };
          throw new NotFoundError('command');
        },
      },
    });
  }

  get connected(): boolean {
    return this.dialer?.status().every(({ state }) => state === 'connected') ?? false;
  }

  get states(): string[] {
    return this.dialer?.status().map(({ state }) => state) ?? [];
  }

  get lastError(): string | null {
    return this.dialer?.status().find(({ lastError }) => lastError !== null)?.lastError ?? null;
  }

  async close(): Promise<void> {
    await this.dialer?.close();
  }

  private async pulse(body: unknown) {
    const request = pulseRequest.parse(body);
    this.pulses.push({ at: Date.now(), request });
    await this.beforeAnswer(request);
    return {
      instanceId: 'test',
      workloads: request.workloads.map(({ workloadId }) => pulseSaid(workloadId, this.answer)),
    };
  }
}
