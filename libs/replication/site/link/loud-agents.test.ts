import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type PulseWorkload } from '#contracts/replication';
import { waitFor } from '#libs/platform/clock';
import { PulseAnswers } from './pulse-answers.js';
import { PulseRequests } from './pulse-requests.js';
import { LinkUnderTest } from './testing/link-under-test.js';
import { pulseSaid } from './testing/pulse-said.js';
import { TestAgent } from './testing/test-agent.js';

const SOON = { timeoutMs: 20_000, everyMs: 10 };

describe('an agent that says too much', () => {
  let link: LinkUnderTest;
  let agent: TestAgent;
  let workloadId: string;
  const tenantId = randomUUID();

  beforeAll(async () => {
    link = await LinkUnderTest.prepare();
    await link.start();
  });
  afterAll(() => link?.close());

  beforeEach(async () => {
    workloadId = randomUUID();
    agent = new TestAgent({});
    await link.admit(agent.agentId, tenantId, agent.identity.publicKey);
    await link.protect({ workloadId, tenantId, agentId: agent.agentId });
  });

  async function said(changes: Partial<PulseWorkload>): Promise<void> {
    const pulse = await link.get(PulseRequests).prepare(agent.agentId);
    if (!pulse) throw new Error('nothing to pulse');
    const workloads = [pulseSaid(workloadId, changes)];
    await link.get(PulseAnswers).record(pulse, { instanceId: 'test', workloads });
  }
  const told = async (kind: string): Promise<number> =>
    (await link.results(kind)).filter((payload) => payload['workloadId'] === workloadId).length;

  it('fills the outbox neither with servers fenced, nor with logs that part', async () => {
    for (let turn = 1; turn <= 60; turn += 1) {
      await said({
        fenced: { epoch: turn, at: new Date().toISOString(), evidence: 'stopped' },
        divergence: {
          workloadId,
          epoch: 1,
          forkedAtLsn: '0/5',
          endLsn: `0/${turn}`,
          transactions: [],
          truncated: false,
        },
      });
    }
    expect(await told('replication.old-primary-fenced')).toBe(30);
    expect(await told('replication.divergence')).toBe(30);
  });

  it('fills the outbox not by arming and degrading in turn, and is told armed once that has ended', async () => {
    const degraded = { armed: false, armedSince: null, notArmedBecause: 'production runs without the metro site' };
    for (let turn = 1; turn <= 40; turn += 1) {
      await said({});
      await said({ ...degraded, degraded: { since: new Date().toISOString(), secondsLeft: 1 } });
      await link.get(PulseAnswers).tellEndedLeases();
    }
    expect(await told('replication.arming-changed')).toBe(60);
    await link.sql(`UPDATE source_news SET at = at - interval '1 hour' WHERE workload_id = $1`, [workloadId]);
    await said({});
    expect((await link.results('replication.arming-changed')).at(-1)).toMatchObject({ workloadId, armed: true });
  });

  it('is heard with the first of its alarms, each cut to what a person reads', async () => {
    const alarms = Array.from({ length: 100 }, (_, index) => ({
      code: `alarm.${index}`,
      what: `${'loud '.repeat(400)}\0`,
      remedy: 'none',
    }));
    agent.answer = { alarms };
    agent.dial(link.target());
    const [report] = await waitFor(
      'the report',
      async () => {
        const rows = await link.sql<{ report: PulseWorkload }>(
          `SELECT report FROM source_report WHERE workload_id = $1`,
          [workloadId],
        );
        return rows.length > 0 ? rows : undefined;
      },
      SOON,
    );
    expect(report?.report.alarms).toHaveLength(50);
    expect(report?.report.alarms[0]?.what).toHaveLength(1_000);
    expect((await link.lease(workloadId)).armed).toBe(true);
    await agent.close();
  });

  it('is not listened to beyond half a megabyte of pulse', async () => {
    const alarm = { code: 'alarm.long', what: 'loud '.repeat(200_000), remedy: 'none' };
    agent.answer = { alarms: [alarm] };
    agent.dial(link.target());
    await waitFor('a second pulse', () => agent.pulses.length > 1, SOON);
    expect(await link.sql(`SELECT FROM source_report WHERE workload_id = $1`, [workloadId])).toEqual([]);
    agent.answer = {};
    await waitFor('the lease', async () => (await link.lease(workloadId)).armed, SOON);
    await agent.close();
  });
});
