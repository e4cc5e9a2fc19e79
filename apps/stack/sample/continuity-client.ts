import { waitFor } from '#libs/platform/clock';
import type { RestClient } from '../rest-client.js';

export interface LegView {
  readonly role: 'metro' | 'regional';
  readonly state: string;
  readonly unknownBecause: string | null;
  readonly bytesBehind: number | null;
  readonly armed: boolean | null;
  readonly seeding: { readonly bytesTotal: number; readonly bytesDone: number } | null;
  readonly alarms: readonly { readonly code: string; readonly what: string }[];
  readonly frontDoor: { readonly host: string; readonly port: number } | null;
}

export interface ProtectionView {
  readonly condition: string;
  readonly mode: string;
  readonly metro: LegView | null;
  readonly regional: LegView | null;
  readonly regionalSiteId: string | null;
}

/** What a person accepts to lose, and how they say the old server was stopped. */
export interface Acceptance {
  readonly acceptLoss: { readonly kind: 'none' | 'unknown' };
  readonly oldServer: 'destroyed' | 'switched-off' | 'cut-off' | 'unknown';
}

export interface RunView {
  readonly id: string;
  readonly state: string;
  readonly declaration?: unknown;
  readonly report: {
    readonly loss: { readonly kind: string; readonly why: string };
    readonly secondsToFirstWrite: number | null;
    readonly otherSiteLagBytes: number | null;
    readonly frontDoor: { readonly host: string; readonly port: number } | null;
  } | null;
  readonly events?: readonly { readonly message: string; readonly step: string | null; readonly at: string }[];
}

interface AgentView {
  readonly id: string;
  readonly sites: readonly { readonly state: string }[];
}

export interface WorkloadView {
  readonly id: string;
  readonly name: string;
  readonly epoch: number;
  readonly activeSiteId: string | null;
}

/** What a technician's scripts ask of the API, one method per sentence. */
export class ContinuityClient {
  constructor(readonly rest: RestClient) {}

  async enrolmentToken(name: string): Promise<string> {
    const { token } = await this.rest.post<{ token: string }>('/v1/enrolment-tokens', { name });
    return token;
  }

  /** Waits until the agent's links stand at every site. */
  async connectedAgent(): Promise<string> {
    return waitFor(
      'the agent to connect to both sites',
      async () => {
        const { items } = await this.rest.get<{ items: AgentView[] }>('/v1/agents');
        return items.find(({ sites }) => sites.length > 1 && sites.every(({ state }) => state === 'connected'))?.id;
      },
      { timeoutMs: 60_000, everyMs: 200 },
    );
  }

  async createFunction(name: string): Promise<string> {
    const { id } = await this.rest.post<{ id: string }>('/v1/functions', {
      name,
      mtdSeconds: 86_400,
      rtoSeconds: 3_600,
      rpoSeconds: 60,
      priority: 1,
    });
    return id;
  }

  async createWorkload(workload: { agentId: string; functionId: string; name: string }): Promise<string> {
    const { id } = await this.rest.post<{ id: string }>('/v1/workloads', {
      ...workload,
      kind: 'postgresql',
      location: { latitude: 47.0379, longitude: -122.9007 },
    });
    return id;
  }

  async preflight(workloadId: string): Promise<{ state: string; findings: { severity: string; what: string }[] }> {
    const { id } = await this.rest.post<{ id: string }>(`/v1/workloads/${workloadId}/preflights`);
    return waitFor(
      'the preflight',
      async () => {
        const answer = await this.rest.get<{
          state: string;
          report: { findings: { severity: string; what: string }[] } | null;
        }>(`/v1/workloads/${workloadId}/preflights/${id}`);
        return answer.report ? { state: answer.state, findings: answer.report.findings } : undefined;
      },
      { timeoutMs: 60_000, everyMs: 100 },
    );
  }

  /** @param clientNetworks from where clients may come to the front doors */
  protect(workloadId: string, mode: 'strict' | 'available', clientNetworks: readonly string[]): Promise<unknown> {
    return this.rest.post(`/v1/workloads/${workloadId}/protection`, { mode, clientNetworks });
  }

  protection(workloadId: string): Promise<ProtectionView> {
    return this.rest.get<ProtectionView>(`/v1/workloads/${workloadId}/protection`);
  }

  workload(workloadId: string): Promise<WorkloadView> {
    return this.rest.get<WorkloadView>(`/v1/workloads/${workloadId}`);
  }

  /** Waits until the metro acknowledges each write and the regional site streams too; `tell` hears each new condition. */
  async armed(workloadId: string, tell: (condition: string) => void, timeoutMs = 180_000): Promise<ProtectionView> {
    let last = '';
    return waitFor(
      'protection to be armed at both sites',
      async () => {
        const view = await this.protection(workloadId);
        const [metro, regional] = [view.metro?.state ?? 'none', view.regional?.state ?? 'none'];
        const now = `${view.condition} (metro ${metro}, regional ${regional})`;
        if (now !== last) tell((last = now));
        return view.condition === 'armed' && metro === 'streaming' && regional === 'streaming' ? view : undefined;
      },
      { timeoutMs, everyMs: 200 },
    );
  }

  preview(workloadId: string): Promise<{ loss: { kind: string; why: string }; siteName?: string }> {
    return this.rest.post(`/v1/workloads/${workloadId}/failovers/preview`);
  }

  declare(workloadId: string, declaration: { reason: string } & Partial<Acceptance>): Promise<{ id: string }> {
    return this.rest.post(`/v1/workloads/${workloadId}/failovers`, declaration);
  }

  run(runId: string): Promise<RunView> {
    return this.rest.get<RunView>(`/v1/failovers/${runId}`);
  }

  confirm(runId: string, answer: Acceptance): Promise<unknown> {
    return this.rest.post(`/v1/failovers/${runId}/confirm`, answer);
  }

  finished(runId: string, timeoutMs = 60_000): Promise<RunView> {
    return waitFor(
      'the failover to finish',
      async () => {
        const run = await this.run(runId);
        return ['completed', 'failed', 'cancelled'].includes(run.state) ? run : undefined;
      },
      { timeoutMs, everyMs: 50 },
    );
  }
}
