import type { Transaction } from './transaction.js';

/** Counting stops here: figures stay cheap however much has piled up, and by then the number says enough. */
export const COUNTED_AT_MOST = 10_000;

/** A query for figures is given up after two seconds: it must not burden a database that is in trouble already. */
export async function measuring<X extends Transaction, T>(tx: X, read: (tx: X) => Promise<T>): Promise<T> {
  await tx.query(`SELECT set_config('statement_timeout', '2s', true)`);
  return read(tx);
}
