const GIGABYTE = 2 ** 30;

/** Into how many parts a repository is cut, one of which is read a day: all of them well within 30 days. */
export function partsFor(bytes: number): number {
  if (bytes <= GIGABYTE / 4) return 1;
  return bytes <= 10 * GIGABYTE ? 7 : 25;
}

export interface CheckedPart {
  readonly part: number;
  readonly checkedAt: Date;
}

/** The part whose turn it is: one that never was, else the one that was longest ago. */
export function nextPart(of: number, checked: readonly CheckedPart[]): number {
  const at = new Map(checked.map(({ part, checkedAt }) => [part, checkedAt.getTime()]));
  const parts = Array.from({ length: of }, (_, index) => index + 1);
  return parts.reduce((first, part) => ((at.get(part) ?? 0) < (at.get(first) ?? 0) ? part : first));
}

/** Whether restic reads this pack for `--read-data-subset=part/of` (restic: cmd/restic/cmd_check.go). */
export const isInPart = (packId: string, part: number, of: number): boolean =>
  Number.parseInt(packId.slice(0, 2), 16) % of === part - 1;
