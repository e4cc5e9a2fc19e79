import { randomUUID } from 'node:crypto';
import { pulseAnswer, pulseCommand, type PulseRequest, type PulseWorkload } from '#contracts/replication';
import type { TunnelGateway } from '#libs/link';
import { TEST_NAMES } from './agency.js';

type PulseEntry = PulseRequest['workloads'][number];

/** What the metro says of a strict workload in its first epoch, with which all is well. */
export function pulseEntry(over: Partial<PulseEntry> = {}): PulseEntry {
  return {
    workloadId: randomUUID(),
    name: 'permits',
    role: 'metro',
    mode: 'strict',
    epoch: 1,
    names: TEST_NAMES,
    promotedAtLsn: null,
    promotedTimeline: null,
    refuseLease: false,
    disarmed: null,
    rearm: false,
    rebootUntil: null,
    ...over,
  };
}

/** One pulse to an agent about one workload. */
export async function pulseOver(gateway: TunnelGateway, agentId: string, entry: PulseEntry): Promise<PulseWorkload> {
  const answer = gateway.request(agentId, 'sync', pulseCommand.path, { workloads: [entry] }, { timeoutMs: 10_000 });
  return pulseAnswer.parse(await answer).workloads[0]!;
}
