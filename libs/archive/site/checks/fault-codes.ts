/** What restic's check, here or at the agent, says of a repository with faults. A check that could not be made says other things. */
export const FAULT_CODES: readonly string[] = ['archive.restic', 'archive.check-failed'];
