import { AsyncLocalStorage } from 'node:async_hooks';
import type { Transaction } from './transaction.js';

/** Called just before COMMIT with what the transaction's work returned. Throwing rolls the transaction back. */
export type CommitHook = (tx: Transaction, value: unknown) => Promise<void>;

const hooks = new AsyncLocalStorage<CommitHook>();

/**
 * Runs `work`; each transaction that it begins calls `hook` before its COMMIT. This is how the stored answer of a
 * repeatable request lands in the transaction of the change itself.
 */
export const withCommitHook = <T>(hook: CommitHook, work: () => T): T => hooks.run(hook, work);

/** Runs `work` without the hook: for a look-up before the change, which must not be taken for the change itself. */
export const beforeTheChange = <T>(work: () => T): T => hooks.exit(work);

/** For the unit of work alone. */
export const currentCommitHook = (): CommitHook | undefined => hooks.getStore();
