import type { Alarm } from '#contracts/replication';
import type { Capacity } from '#libs/sites/site';

/** Shares of the site's disk that are left: below the first nothing can be relied on, below the second it is time. */
const FULL = 0.03;
const NEARLY_FULL = 0.08;
const GIB = 1_073_741_824;

type Disk = Pick<Capacity, 'diskBytes' | 'diskFreeBytes'>;

export const isFull = ({ diskBytes, diskFreeBytes }: Disk): boolean => diskFreeBytes < diskBytes * FULL;

/** What the site's disk means for its standbys. */
export function diskAlarms(disk: Disk): Alarm[] {
  const { diskBytes, diskFreeBytes } = disk;
  if (diskFreeBytes >= diskBytes * NEARLY_FULL) return [];
  const left = `${(diskFreeBytes / GIB).toFixed(1)} of ${(diskBytes / GIB).toFixed(1)} GiB are free`;
  if (!isFull(disk)) {
    return [
      {
        code: 'driver.disk-nearly-full',
        what: `The site's disk is nearly full: ${left}.`,
        remedy: 'Add space at the site before its standbys have to stop.',
      },
    ];
  }
  return [
    {
      code: 'driver.disk-full',
      what: `The site's disk is full: ${left}. Standbys here receive nothing while it is.`,
      remedy:
        'Add space at the site; copying and streaming then go on by themselves. Until then production goes on as the mode of the protection says: strict waits, available goes on alone.',
    },
  ];
}
