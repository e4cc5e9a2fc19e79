import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ArchiveReport } from '#contracts/archive';
import { ArchivedWorkload } from '#test/archived-workload';
import { ControlPlane } from '#test/control-plane';

describe('the condition of an archive', () => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await ControlPlane.start();
  });
  afterAll(() => plane.close());

  const hours = (n: number) => new Date(Date.now() - n * 3_600_000).toISOString();
  const whole = { completeUntil: hours(0), missingObjects: 0, missingBytes: 0, lookedAt: hours(0), failure: null };
  const failure = { code: 'peer.unreachable', message: 'The other site does not answer.' };
  const proof = (state: 'proven' | 'failed' | 'running') => ({
    state,
    at: hours(0),
    seconds: 1,
    checks: [],
    failure: null,
  });
  const is = (archive: ArchivedWorkload, condition: string) =>
    plane.until(archive.path, archive.agency.apiKey, (body) => body.condition === condition);
  /** One that is well: a second copy that has all, a proven recovery point, an agent that is heard. */
  const well = async (change: Partial<ArchiveReport> = {}): Promise<ArchivedWorkload> => {
    const archive = await ArchivedWorkload.make(plane, { secondSiteId: plane.regional.id });
    await archive.kept({ proof: proof('proven'), receivedAt: hours(72) });
    archive.state({ copy: whole, ...change });
    await is(archive, 'ok');
    return archive;
  };

  it('is unknown once the agent was away for an hour, though no run is due, and not of one that is paused', async () => {
    const archive = await well();
    const link = (set: string) =>
      plane.api.rows(`UPDATE agent_site SET ${set} WHERE agent_id = $1`, [archive.agent.id]);
    await link(`connected_since = NULL, seen_at = now() - interval '59 minutes'`);
    await is(archive, 'ok');
    await link(`seen_at = now() - interval '61 minutes'`);
    await is(archive, 'unknown');
    await plane.api.call('PATCH', archive.path, { token: archive.agency.apiKey, body: { paused: true } });
    await is(archive, 'paused');
    await plane.api.call('PATCH', archive.path, { token: archive.agency.apiKey, body: { paused: false } });
    await link(`connected_since = now()`);
    await is(archive, 'ok');
  });

  it('needs attention while the second copy fails or is behind', async () => {
    const archive = await well();
    archive.state({ copy: { ...whole, failure } });
    await is(archive, 'attention');
    archive.state({ copy: whole });
    await is(archive, 'ok');
    archive.state({ copy: { ...whole, completeUntil: hours(100), missingObjects: 2, missingBytes: 50 } });
    await is(archive, 'attention');
    archive.state({ copy: whole });
    await is(archive, 'ok');
  });

  it('needs attention while the newest proof failed, of any part of its run, until a newer one is proven', async () => {
    const archive = await well();
    const { runId } = archive.run({ state: 'completed', endedAt: hours(0) });
    await archive.kept({ runId, part: 'permits', proof: proof('proven'), receivedAt: hours(3) });
    const failed = await archive.kept({ runId, part: 'payroll', proof: proof('failed'), receivedAt: hours(4) });
    await is(archive, 'attention');
    // What is not judged yet says nothing.
    await archive.kept({ receivedAt: hours(2) });
    expect((await plane.api.get(archive.path, archive.agency.apiKey)).body.condition).toBe('attention');
    archive.point({ ...failed.said, proof: proof('proven') });
    await is(archive, 'ok');
    archive.point({ ...failed.said, proof: proof('failed') });
    await is(archive, 'attention');
    await archive.kept({ proof: proof('proven'), receivedAt: hours(1) });
    await is(archive, 'ok');
  });
});
