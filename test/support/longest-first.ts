import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * The files that take long on two processors, and not side by side those that each start all of Mainstay. A file that is
 * not named here counts as short.
 */
const LONGEST = [
  'test/chaos/',
  'libs/failover/site/regional-synchronous.test.ts',
  'libs/failover/site/leader-traps.test.ts',
  'libs/replication/site/disk-full.test.ts',
  'libs/failover/site/cut-off.test.ts',
  'libs/failover/site/kill.test.ts',
  'libs/failover/site/giving-way.test.ts',
  'test/end-to-end/faults.test.ts',
  'libs/failover/site/',
  'libs/archive/site/',
  'test/end-to-end/',
];

/** The long files first, so that no processor idles at the end while the last one runs. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rest = await super.sort(files);
    return rest.toSorted((one, other) => place(one) - place(other));
  }
}

function place({ moduleId }: TestSpecification): number {
  const found = LONGEST.findIndex((prefix) => moduleId.includes(`/${prefix}`));
  return found === -1 ? LONGEST.length : found;
}
