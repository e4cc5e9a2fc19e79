/** Counting stops here: figures stay cheap however much has piled up, and by then the number says enough. */
export const COUNTED_AT_MOST = 10_000;

/** Begins a transaction that reads figures: each statement is given up soon, not to burden a database in trouble. */
export const GIVEN_UP_SOON = `SET LOCAL statement_timeout = '2s'`;
