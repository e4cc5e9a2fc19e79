import { z } from 'zod';
import { fencingRecord, type FencingRecord } from '#libs/failover/agent';
import {
  baselineRecord,
  grantsRecord,
  madeRecord,
  protectionRecord,
  settingsRecord,
  type BaselineRecord,
  type GrantsRecord,
  type MadeRecord,
  type ProtectionRecord,
  type SettingsRecord,
} from '#libs/replication/agent';
import { DurableValue, type StateDirectory } from '#libs/sites/agent';

/** That PostgreSQL was started although no site could say whether it is still the newest. */
export const unconfirmedStart = z.strictObject({ at: z.iso.datetime() });
export type UnconfirmedStart = z.infer<typeof unconfirmedStart>;

export interface WorkloadFiles {
  readonly protection: DurableValue<ProtectionRecord>;
  readonly grants: DurableValue<GrantsRecord>;
  readonly fencing: DurableValue<FencingRecord>;
  readonly settings: DurableValue<SettingsRecord>;
  readonly baseline: DurableValue<BaselineRecord>;
  readonly made: DurableValue<MadeRecord>;
  readonly unconfirmedStart: DurableValue<UnconfirmedStart>;
}

/** What the agent keeps of one workload. Each file has one writer: tunnel, tunnel, tunnel, run, run, run, gate. */
export function workloadFiles(directory: StateDirectory, name: string): WorkloadFiles {
  const file = (what: string) => directory.workload(name, `${what}.json`);
  return {
    protection: new DurableValue(file('protection'), protectionRecord),
    grants: new DurableValue(file('grants'), grantsRecord),
    fencing: new DurableValue(file('fencing'), fencingRecord),
    settings: new DurableValue(file('settings'), settingsRecord),
    baseline: new DurableValue(file('baseline'), baselineRecord),
    made: new DurableValue(file('made'), madeRecord),
    unconfirmedStart: new DurableValue(file('unconfirmed-start'), unconfirmedStart),
  };
}
