import { z } from 'zod';
import { alarm, protectionMode } from '#contracts/replication';

export const linkState = z.object({
  siteId: z.string(),
  site: z.string(),
  lane: z.string(),
  state: z.string(),
  connectedSince: z.string().nullable(),
  roundTripMilliseconds: z.number().nullable(),
  lastError: z.string().nullable(),
});
export const workloadState = z.object({
  name: z.string(),
  protected: z.boolean(),
  mode: protectionMode.nullable(),
  armed: z.boolean().nullable(),
  armedSince: z.string().nullable(),
  notArmedBecause: z.string().nullable(),
  epoch: z.number().nullable(),
  fenced: z.object({ epoch: z.number(), at: z.string(), evidence: z.string() }).nullable(),
  divergentTransactions: z.number().nullable(),
  alarms: z.array(alarm),
});
/** What the tunnel says of itself, to `status` and to `run`. */
export const tunnelStatus = z.object({
  pid: z.number(),
  instanceId: z.string(),
  /** Of version, configuration and identity: a tunnel of another one is replaced. */
  fingerprint: z.string(),
  startedAt: z.string(),
  agency: z.string(),
  agentId: z.string(),
  links: z.array(linkState),
  workloads: z.array(workloadState),
});
export type TunnelStatus = z.infer<typeof tunnelStatus>;
export type WorkloadState = z.infer<typeof workloadState>;

/** The status as a person reads it. */
export function renderStatus(status: TunnelStatus): string {
  const lines = [
    `Agent ${status.agentId} of ${status.agency}; its tunnel runs since ${status.startedAt}.`,
    '',
    'Links',
  ];
  if (status.links.length === 0) lines.push('  none: the control plane has assigned no site yet');
  for (const link of status.links) {
    const time = link.roundTripMilliseconds === null ? '' : `, round trip ${link.roundTripMilliseconds.toFixed(1)} ms`;
    const state = link.connectedSince
      ? `up since ${link.connectedSince}${time}`
      : `${link.state}${reason(link.lastError)}`;
    lines.push(`  ${link.site.padEnd(20)} ${link.lane.padEnd(5)} ${state}`);
  }
  lines.push('', 'Workloads');
  if (status.workloads.length === 0) lines.push('  none to replicate: agent.json lists no PostgreSQL server');
  for (const workload of status.workloads) lines.push(...renderWorkload(workload));
  return lines.join('\n');
}

function reason(text: string | null): string {
  return text === null ? '' : `: ${text}`;
}

function renderWorkload(workload: WorkloadState): string[] {
  const lines = [`  ${workload.name}: ${headline(workload)}`];
  if (workload.epoch !== null) lines.push(`    epoch ${workload.epoch}`);
  if (workload.fenced) lines.push(`    ${workload.fenced.evidence}`);
  if (workload.divergentTransactions !== null) {
    lines.push(`    ${workload.divergentTransactions} transactions are on this server only`);
  }
  for (const { what, remedy } of workload.alarms) lines.push(`    ALARM ${what}`, `          ${remedy}`);
  return lines;
}

function headline(workload: WorkloadState): string {
  if (workload.fenced)
    return `FENCED at ${workload.fenced.at}: a warm site has taken over (epoch ${workload.fenced.epoch})`;
  if (!workload.protected) return 'not protected';
  if (workload.armed === null) return `${workload.mode}, state unknown: ${workload.notArmedBecause ?? 'no look yet'}`;
  if (workload.armed) return `${workload.mode}, armed since ${workload.armedSince ?? 'now'}`;
  return `${workload.mode}, NOT armed: ${workload.notArmedBecause ?? 'unknown'}`;
}
