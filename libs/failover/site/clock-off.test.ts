import { randomUUID } from 'node:crypto';
import { afterAll, expect, test } from 'vitest';
import { SystemClock } from '#libs/platform/clock';
import { TestAgency } from '#test/agency';
import { AgencyDesk } from '#test/agency-desk';
import { WarmSite } from '#test/warm-site';

const HOUR_MS = 3_600_000;

/** Of a machine whose time nobody looks after. */
class WrongClock extends SystemClock {
  constructor(private readonly offMs: number) {
    super();
  }

  override now(): Date {
    return new Date(super.now().getTime() + this.offMs);
  }
}

const closing: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const close of closing.reverse()) await close();
});

test.each([
  ['ahead', HOUR_MS],
  ['behind', -HOUR_MS],
])("an agency's clock an hour %s changes nothing of what is known, promised or lost", async (_where, offMs) => {
  const agency = await TestAgency.start();
  closing.push(() => agency.remove());
  await agency.query('CREATE TABLE permit (id bigserial PRIMARY KEY, note text)');
  const desk = await AgencyDesk.open(agency, new WrongClock(offMs));
  closing.push(() => desk.close());
  const metro = await WarmSite.start({ role: 'metro', desk, workloadId: randomUUID(), tenantId: randomUUID() });
  closing.push(() => metro.close());
  await metro.protect({ mode: 'available' });
  await metro.until('the metro to be armed', ({ armed }) => armed === true);
  await agency.query(`INSERT INTO permit (note) VALUES ('acknowledged')`);
  const health = await metro.until('it to have all', ({ bytesBehind }) => bytesBehind === 0);
  expect(health).toMatchObject({ secondsBehind: 0, alarms: [] });
  // By the site's clock, all of it: within minutes of now, and far from the agency's hour.
  for (const at of [health.sourceSeenAt, health.armedSince, health.armedUntil]) {
    expect(Math.abs(Date.parse(at!) - Date.now())).toBeLessThan(HOUR_MS / 2);
  }
  desk.alive = false;
  await agency.server.kill9();
  // Within the lease, which no clock's time but its rate measures.
  const { state, report } = await metro.finished(await metro.failover({ noDegradeGranted: false }));
  expect(state).toBe('completed');
  expect(report).toMatchObject({ loss: { kind: 'none' } });
  expect(await metro.sql('SELECT note FROM permit')).toEqual([{ note: 'acknowledged' }]);
});
