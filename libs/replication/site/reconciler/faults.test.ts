import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { ProcessDriver, type ProcessDriverOptions } from '#libs/sites/site';
import type { WarmSite } from '#test/warm-site';
import { WarmWorld } from '#test/warm-world';

/** A host whose disk gives no answer but errors. */
class SickHost extends ProcessDriver {
  override capacity(): Promise<never> {
    return Promise.reject(Object.assign(new Error('i/o error, statfs'), { code: 'EIO' }));
  }

  override prepareStandby(): Promise<never> {
    return Promise.reject(Object.assign(new Error('i/o error, mkdir'), { code: 'EIO' }));
  }
}

const world = new WarmWorld();
let metro: WarmSite;

beforeAll(async () => {
  await world.openAgency();
  metro = await world.openSite('metro', { driver: (options: ProcessDriverOptions) => new SickHost(options) });
});
afterAll(() => world.close());

test('why a standby does not get on is written down, and waited with, also where the disk cannot be asked', async () => {
  await metro.protect();
  const fault = async () => {
    const [row] = await metro.work.run((tx) =>
      tx.query<{ reason: string | null; retries: number; waits: boolean }>(
        'SELECT state_reason AS reason, retries, retry_at IS NOT NULL AS waits FROM standby',
      ),
    );
    return row?.reason ? row : undefined;
  };
  const { reason, retries, waits } = await waitFor('the fault', fault, { timeoutMs: 30_000 });
  expect(reason).toMatch(/^internal: /);
  expect(retries).toBeGreaterThan(0);
  expect(waits).toBe(true);
});
