import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RUN_STEPS } from '#contracts/failover';
import { waitFor } from '#libs/platform/clock';
import type { TestAgency } from '#test/agency';
import type { AgencyDesk } from '#test/agency-desk';
import type { WarmSite } from '#test/warm-site';
import { WarmWorld } from '#test/warm-world';

// The children run what `tools/build.mjs` has made, as the product does.
const CHILD = fileURLToPath(new URL('../../../dist/test/support/site-child.js', import.meta.url));
const world = new WarmWorld();
const { workloadId } = world;
let agency: TestAgency;
let desk: AgencyDesk;
let metro: WarmSite;

beforeAll(async () => {
  ({ agency, desk } = await world.openAgency());
  metro = await world.openSite('metro');
  await metro.protect();
  await metro.until('the metro to be armed', (health) => health.armed === true);
});
afterAll(() => world.close());

function startChild(dieAt: string | null): ChildProcess {
  const home = { siteId: metro.home.siteId, directory: metro.home.directory, url: metro.home.database.url };
  return spawn(process.execPath, [CHILD, JSON.stringify({ home, dieAt })], { stdio: ['ignore', 'ignore', 'inherit'] });
}

test(
  'killed with -9 at both edges of every step, the run goes on each time and promotes once',
  { timeout: 300_000 },
  async () => {
    await agency.query(`INSERT INTO permit (note) VALUES ('acknowledged')`);
    desk.alive = false;
    await agency.server.kill9();
    await metro.stopWorking();
    const runId = await metro.failover();
    for (const boundary of RUN_STEPS.flatMap((step) => [`${step}/worked`, `${step}/ended`])) {
      const child = startChild(boundary);
      const [code, signal] = (await Promise.race([
        once(child, 'exit'),
        // A step that is over already is not come to again: the next child finds the run at its end.
        waitFor('the end', async () => (await metro.runState(runId)) === 'completed', { timeoutMs: 60_000 }).then(
          () => [0, null],
        ),
      ])) as [number | null, string | null];
      if (code === 0) child.kill('SIGKILL');
      else expect({ boundary, signal }).toEqual({ boundary, signal: 'SIGKILL' });
    }
    const last = startChild(null);
    try {
      const { state, report } = await metro.finished(runId);
      expect(state).toBe('completed');
      expect(report).toMatchObject({ promotedTimeline: 2, loss: { kind: 'none' } });
    } finally {
      last.kill('SIGKILL');
    }
    expect(await metro.results('failover.finished')).toHaveLength(1);
    expect(Object.values(await metro.steps(runId)).every(({ state }) => state === 'done' || state === 'skipped')).toBe(
      true,
    );
    expect(await metro.sql('SELECT note FROM permit')).toEqual([{ note: 'acknowledged' }]);
    expect((await metro.driver.position(workloadId)).timeline).toBe(2);
  },
);
