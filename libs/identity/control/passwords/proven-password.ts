import { AsyncLocalStorage } from 'node:async_hooks';

/** A password that {@link PasswordWork} has checked against this hash. */
export interface ProvenPassword {
  readonly hash: string;
  readonly password: string;
}

const proven = new AsyncLocalStorage<ProvenPassword>();

/** Runs `work`, in which better-auth takes this password for this hash without computing anything. */
export const withProvenPassword = <T>(what: ProvenPassword, work: () => Promise<T>): Promise<T> =>
  proven.run(what, work);

/**
 * What better-auth is given to hash and check with, inside our transactions: the check was made outside of them. A
 * hash that has changed since is not the one that was checked, and refused.
 */
export const PROVEN_PASSWORDS = {
  // It hashes only to take its time over an unknown person; ours are stored by their hash.
  hash: (): Promise<string> => Promise.resolve('!'),
  verify: ({ hash, password }: ProvenPassword): Promise<boolean> => {
    const known = proven.getStore();
    return Promise.resolve(known !== undefined && known.hash === hash && known.password === password);
  },
};
