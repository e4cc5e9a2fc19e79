import { waitFor } from '#libs/platform/clock';
import { parseLsn } from '#libs/platform/postgres';
import { BackupSource } from '#libs/platform/postgres/backup';
import type { TestServer } from '#libs/platform/postgres/testing';
import type { FollowTarget, SiteDriver, StandbySpecification } from '../driver.js';

export const PASSWORD = 'not:needed\\';
const TRUST = { database: 'all', user: 'all', address: '127.0.0.1/32', method: 'trust' } as const;

type WithRules = StandbySpecification & Required<Pick<StandbySpecification, 'hba'>>;

/** What a test's standby is made with. */
export function specification(parameters: Record<string, string> = {}): WithRules {
  return {
    majorVersion: 15,
    parameters: { max_connections: '60', ...parameters },
    hba: [
      { type: 'host', ...TRUST },
      { type: 'host', ...TRUST, database: 'replication' },
    ],
    memoryBytes: 256 * 1024 * 1024,
  };
}

export function sourceOf(primary: TestServer): BackupSource {
  return new BackupSource({ dataDirectory: primary.server.directory, connect: () => primary.connect() });
}

export function followTarget(port: number, slotName: string, applicationName = 'metro'): FollowTarget {
  const host = '127.0.0.1';
  return { host, port, user: 'county_admin', password: PASSWORD, slotName, applicationName, sslmode: 'disable' };
}

/** Prepares, seeds and starts a standby of the primary, with a slot of its own there. */
export async function bringUp(driver: SiteDriver, primary: TestServer, workloadId: string): Promise<string> {
  const slot = `s_${workloadId.slice(0, 8)}`;
  await primary.sql('SELECT pg_create_physical_replication_slot($1, true)', [slot]);
  await driver.prepareStandby(workloadId, specification());
  const source = sourceOf(primary);
  await driver.seed(workloadId, source, { label: 'metro' });
  await source.close();
  await driver.follow(workloadId, followTarget(primary.port, slot));
  await driver.ensureRunning(workloadId);
  return slot;
}

/** Waits until the standby has replayed what the upstream has now. */
export async function catchUp(driver: SiteDriver, workloadId: string, upstreamLsn: string): Promise<void> {
  const reached = async () => {
    const { replayedLsn } = await driver.position(workloadId);
    return replayedLsn !== null && parseLsn(replayedLsn) >= parseLsn(upstreamLsn);
  };
  await waitFor('the standby to replay all', reached, { timeoutMs: 30_000 });
}

export async function headOf(primary: TestServer): Promise<string> {
  const [row] = await primary.sql<{ lsn: string }>('SELECT pg_current_wal_flush_lsn() AS lsn');
  return row!.lsn;
}
