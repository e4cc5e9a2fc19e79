import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  archiveResult,
  archiveUsageResult,
  dropResult,
  keyUseResult,
  massChangeResult,
  pointResult,
  restoreResult,
  runResult,
} from '#contracts/archive';
import type { ResultContract } from '#contracts/sites';
import { Usage } from '#libs/metering/control';
import { SystemClock, waitFor } from '#libs/platform/clock';
import { UnitOfWork } from '#libs/platform/database';
import { ArchivedWorkload } from '#test/archived-workload';
import { ControlPlane } from '#test/control-plane';
import type { ScriptedSite } from '#test/scripted-site';

/** A result as no honest site would send it: nothing checks it before the control plane does. */
const raw = (kind: string): ResultContract<Record<string, unknown>> => ({
  kind,
  payload: z.record(z.string(), z.unknown()),
});

describe('what a site says of archives that is not so, or not its own', () => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await ControlPlane.start();
  });
  afterAll(() => plane.close());

  const asideOf = async (site: ScriptedSite): Promise<number> => {
    const [row] = await plane.api.rows<{ n: number }>(
      `SELECT count(*)::int AS n FROM unapplied_result WHERE site_id = $1`,
      [site.id],
    );
    return row!.n;
  };
  /** All of an archive's kinds of results, each fitting its contract. */
  const everything = (of: ArchivedWorkload, ids: { restoreId: string; snapshotId: string }) => {
    const at = new Date().toISOString();
    const none = { failure: null, faultCount: 0, faults: [], progress: null };
    const { ref } = of;
    const { snapshotId } = ids;
    return [
      [
        archiveResult.kind,
        {
          ...ref,
          state: 'ended',
          failure: null,
          storedBytes: 9,
          nextRunAt: null,
          retentionPaused: null,
          copy: null,
          checkedShare: null,
          damaged: [],
          keysRotatedAt: null,
        },
      ],
      [
        runResult.kind,
        {
          ...ref,
          ...none,
          runId: randomUUID(),
          cause: 'schedule',
          state: 'completed',
          dueAt: at,
          startedAt: at,
          endedAt: at,
          summary: null,
          snapshotIds: [],
        },
      ],
      [
        pointResult.kind,
        {
          ...ref,
          snapshotId,
          runId: null,
          part: null,
          receivedAt: at,
          claimedAt: at,
          clockDiffers: false,
          files: null,
          bytes: null,
          bytesAddedPacked: null,
          change: null,
          proof: { state: 'never', at: null, seconds: null, checks: [], failure: null },
          heldBecause: null,
          pinned: false,
          forgottenAt: at,
          forgottenBecause: 'missing',
        },
      ],
      [
        restoreResult.kind,
        {
          ...ref,
          ...none,
          restoreId: ids.restoreId,
          state: 'completed',
          startedAt: at,
          endedAt: at,
          filesRestored: 9,
          filesSkipped: 0,
          bytesRestored: 9,
        },
      ],
      [
        massChangeResult.kind,
        { ...ref, changeId: randomUUID(), runId: null, state: 'suspected', at, signals: [], paths: [], lastGood: null },
      ],
      [dropResult.kind, { ...ref, dropId: randomUUID(), snapshotId, state: 'done', failure: null }],
      [
        archiveUsageResult.kind,
        { ...ref, factId: randomUUID(), kind: 'archive.ingested-bytes', amount: 9, from: at, to: at },
      ],
      [keyUseResult.kind, { ...ref, useId: randomUUID(), purpose: 'curiosity', at }],
    ] as const;
  };

  it('is set aside, of every kind, and changes nothing; what it says next of its own is taken', async () => {
    const elm = await ArchivedWorkload.make(plane);
    const oak = await ArchivedWorkload.make(plane);
    const point = await elm.kept();
    const restore = await plane.api.post('/v1/restores', { recoveryPointId: point.id }, elm.agency.apiKey);
    const ids = { restoreId: restore.body.id, snapshotId: point.said.snapshotId };
    const shown = async () => ({
      archive: (await plane.api.rows('SELECT * FROM archive WHERE id = $1', [elm.id]))[0],
      points: await plane.api.rows('SELECT * FROM recovery_point WHERE archive_id = $1', [elm.id]),
      runs: await plane.api.rows('SELECT * FROM archive_run WHERE archive_id = $1', [elm.id]),
      restores: await plane.api.rows('SELECT * FROM archive_restore WHERE archive_id = $1', [elm.id]),
      others: await plane.api.rows(
        `SELECT id FROM mass_change UNION ALL SELECT id FROM archive_key_use UNION ALL SELECT id FROM usage_fact`,
      ),
    });
    const before = await shown();
    const asideBefore = [await asideOf(plane.metro), await asideOf(plane.regional)];
    const words = everything(elm, ids);
    for (const [kind, payload] of words) {
      // Another site; the archive's own site in another agency's name, in nobody's, and for another workload.
      plane.regional.say(raw(kind), payload, { tenantId: elm.agency.id });
      plane.metro.say(raw(kind), payload, { tenantId: oak.agency.id });
      plane.metro.say(raw(kind), payload, { tenantId: null });
      plane.metro.say(raw(kind), { ...payload, workloadId: oak.workloadId }, { tenantId: elm.agency.id });
    }
    // Rows of one archive told as another's, both of this site.
    const run = oak.run();
    await plane.until(`${oak.path}/runs/${run.runId}`, oak.agency.apiKey, ({ state }) => state === 'running');
    elm.run({ runId: run.runId, state: 'failed' });
    const change = oak.massChange();
    await plane.until(
      `${oak.path}/changes/${change.changeId}`,
      oak.agency.apiKey,
      ({ state }) => state === 'suspected',
    );
    elm.massChange({ changeId: change.changeId, state: 'dealt-with' });
    oak.say(raw(restoreResult.kind), { ...words[3][1], ...oak.ref });

    oak.state({ storedBytes: 4_321 });
    await plane.until(oak.path, oak.agency.apiKey, ({ storedBytes }) => storedBytes === 4_321);
    await plane.until('/v1/staff/sites', plane.staff, ({ items }) =>
      items.some((one) => one.id === plane.regional.id && one.unappliedResults === asideBefore[1]! + words.length),
    );
    expect(await asideOf(plane.metro)).toBe(asideBefore[0]! + words.length * 3 + 3);
    const after = await shown();
    expect({ ...after, others: [] }).toEqual({ ...before, others: [] });
    expect(after.others).toEqual([...before.others, { id: change.changeId }]);
    expect((await plane.api.get(`${oak.path}/runs/${run.runId}`, oak.agency.apiKey)).body.state).toBe('running');
    const kept = await plane.api.get(`${oak.path}/changes/${change.changeId}`, oak.agency.apiKey);
    expect(kept.body.state).toBe('suspected');
  });

  it('texts of any length and shape are told, and cut', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const faults = Array.from({ length: 300 }, (_, n) => ({
      path: `/srv/${n}/${'x'.repeat(2_000)}\0`,
      what: 'no right',
    }));
    archive.run({ state: 'partial', endedAt: new Date().toISOString(), faultCount: 300, faults });
    const notice = await archive.notice('archives.run-partial');
    expect([notice.text.length, notice.text.includes('\0')]).toEqual([4_000, false]);
    const { body } = await plane.api.get(`${archive.path}/runs`, archive.agency.apiKey);
    expect(body.items[0]).toMatchObject({ state: 'partial', faultCount: 300 });
    expect(body.items[0]?.['faults']).toHaveLength(200);
  });

  it('usage counts once, never in the future; and of the second copy its own site tells what it takes, and nothing else', async () => {
    const archive = await ArchivedWorkload.make(plane, { secondSiteId: plane.regional.id });
    const hour = (n: number): string => new Date(Date.UTC(2026, 0, 1, n)).toISOString();
    const fact = { ...archive.ref, kind: 'archive.stored-bytes' as const, amount: 1_000, from: hour(0), to: hour(2) };
    const factId = randomUUID();
    for (let n = 0; n < 2; n += 1) archive.say(archiveUsageResult, { ...fact, factId });
    const ahead = new Date(Date.now() + 86_400_000).toISOString();
    archive.say(archiveUsageResult, { ...fact, factId: randomUUID(), to: ahead });
    archive.state();
    const copied = { ...fact, kind: 'archive.copy-stored-bytes' as const, amount: 500 };
    archive.say(archiveUsageResult, { ...copied, factId: randomUUID() });
    for (const said of [fact, copied])
      plane.regional.say(archiveUsageResult, { ...said, factId: randomUUID() }, { tenantId: archive.agency.id });
    const work = plane.api.app.get(UnitOfWork);
    const asked = { tenantId: archive.agency.id, kind: fact.kind, from: new Date(hour(0)), to: new Date(ahead) };
    await plane.until(archive.path, archive.agency.apiKey, ({ state }) => state === 'active');
    const facts = () =>
      plane.api.rows<{ kind: string; siteId: string }>(
        `SELECT kind, site_id AS "siteId" FROM usage_fact WHERE subject_id = $1 ORDER BY kind`,
        [archive.id],
      );
    await waitFor('both sites’ facts', async () => (await facts()).length === 2, { timeoutMs: 20_000 });
    expect(await facts()).toEqual([
      { kind: copied.kind, siteId: plane.regional.id },
      { kind: fact.kind, siteId: plane.metro.id },
    ]);
    const total = (kind: string) =>
      work.tenant(archive.agency.id, (tx) => new Usage(new SystemClock()).total(tx, { ...asked, kind }));
    expect(await total(fact.kind)).toEqual({ sum: 0, amountSeconds: 1_000 * 7_200 });
    expect(await total(copied.kind)).toEqual({ sum: 0, amountSeconds: 500 * 7_200 });
  });
});
