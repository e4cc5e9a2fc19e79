import { Injectable } from '@nestjs/common';
import type { AgentLinkInfo, TunnelGateway } from '#libs/link';
import { AppLogger } from '#libs/platform/nest';
import { AgentRegister } from '#libs/sites/site/gateway';

/** A link that breaks and comes back within this time is no news. */
const PATIENCE_MS = 2_000;
/** After a start, agents have this long to dial again before those that do not are told of. */
const START_PATIENCE_MS = 15_000;
/** A second process of an agent's identity dials again and again; it is told of once in this time. */
const DUPLICATE_EVERY_MS = 60_000;

/** Tells the control plane which agents come and go, each change once. */
@Injectable()
export class LinkNews {
  private readonly timers = new Map<string, NodeJS.Timeout>();
  private readonly duplicates = new Map<string, number>();
  private gateway: TunnelGateway | undefined;

  constructor(
    private readonly register: AgentRegister,
    private readonly logger: AppLogger,
  ) {}

  /** From now on; what was told before the last end of this process is set right. */
  watch(gateway: TunnelGateway): void {
    this.gateway = gateway;
    gateway.on('connected', (link) => this.look(link.agentId, 0));
    gateway.on('disconnected', (link) => this.look(link.agentId, PATIENCE_MS));
    gateway.on('duplicate', ({ agentId }) => this.duplicate(agentId));
    this.after('start', START_PATIENCE_MS, async () => {
      for (const agentId of await this.register.toldConnected()) await this.tell(agentId);
    });
  }

  close(): void {
    for (const timer of this.timers.values()) clearTimeout(timer);
    this.gateway = undefined;
  }

  private look(agentId: string, afterMs: number): void {
    if (this.gateway) this.after(agentId, afterMs, () => this.tell(agentId));
  }

  private duplicate(agentId: string): void {
    const last = this.duplicates.get(agentId);
    if (last !== undefined && performance.now() - last < DUPLICATE_EVERY_MS) return;
    this.duplicates.set(agentId, performance.now());
    this.after(`duplicate ${agentId}`, 0, () =>
      this.register.tell({ agentId, state: 'duplicate', version: null, roundTripMilliseconds: null }),
    );
  }

  private async tell(agentId: string): Promise<void> {
    const links: AgentLinkInfo[] = this.gateway?.links().filter((link) => link.agentId === agentId) ?? [];
    const [link] = links;
    await this.register.tell({
      agentId,
      state: link ? 'connected' : 'disconnected',
      version: link?.version ?? null,
      roundTripMilliseconds: link?.roundTripMs ?? null,
    });
  }

  /** The last one by name counts. */
  private after(name: string, ms: number, work: () => Promise<void>): void {
    clearTimeout(this.timers.get(name));
    const timer = setTimeout(() => {
      this.timers.delete(name);
      work().catch((error: unknown) => {
        this.logger.log.warn({ err: error, name }, 'news of a link could not be written; trying again');
        if (this.gateway) this.after(name, PATIENCE_MS, work);
      });
    }, ms);
    this.timers.set(name, timer);
  }
}
