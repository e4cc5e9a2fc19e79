/** What the sample agency's server runs with; every side's servers get the same. The rest is PostgreSQL's default. */
export const SERVER_SETTINGS = { listen_addresses: '127.0.0.1', shared_buffers: '64MB' } as const;

/** 15 MB for each, in every side's database. */
export const PGBENCH_SCALE = 2;
