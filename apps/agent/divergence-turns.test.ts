import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { pulseCommand, type PulseWorkload } from '#contracts/replication';
import { pulseEntry } from '#test/pulse';
import { DivergenceTurns } from './divergence-turns.js';
import { notListed } from './unserved-pulse.js';

/** A fenced server with as many transactions of its own as are listed, each as long as they get. */
function fenced(): PulseWorkload {
  const workloadId = randomUUID();
  const at = '2026-11-22T14:00:00.000Z';
  const transactions = Array.from({ length: 1_000 }, (_, index) => ({
    xid: `${4_294_000_000 + index}`,
    committedAt: '2026-11-22 14:00:00.000000 UTC',
    lsn: `1F/${(0xa0000000 + index).toString(16).toUpperCase()}`,
  }));
  return {
    ...notListed(pulseEntry({ workloadId }), new Date(at)),
    notArmedBecause: 'the server is fenced',
    fenced: { epoch: 2, at, evidence: 'pg_ctl stopped it' },
    divergence: {
      workloadId,
      epoch: 2,
      forkedAtLsn: '1F/A0000000',
      endLsn: '1F/B0000000',
      transactions,
      truncated: true,
    },
    alarms: [],
  };
}

test('eight fenced servers at once: each answer fits, and each site is told of all of them, one after another', () => {
  const turns = new DivergenceTurns();
  const workloads = Array.from({ length: 8 }, fenced);
  const bytes = (said: readonly PulseWorkload[]) => Buffer.byteLength(JSON.stringify({ workloads: said }));
  expect(bytes(workloads)).toBeGreaterThan(pulseCommand.answerBytes!);
  const told = { metro: new Set<string>(), regional: new Set<string>() };
  for (let pulse = 0; pulse < workloads.length; pulse++) {
    for (const site of ['metro', 'regional'] as const) {
      const said = turns.thin(site, workloads);
      expect(bytes(said)).toBeLessThan(pulseCommand.answerBytes! / 4);
      expect(said.every(({ fenced: by }) => by?.epoch === 2)).toBe(true);
      for (const { divergence } of said) if (divergence) told[site].add(divergence.workloadId);
    }
  }
  expect(told.metro.size).toBe(8);
  expect(told.regional.size).toBe(8);
  expect(turns.thin('metro', [])).toEqual([]);
});
