/** Where a client of the load works: a repository's address, taken apart. */
export interface LoadRepository {
  readonly port: number;
  /** `/<repository>/`. */
  readonly path: string;
  /** A header's value; null where the server asks for none. */
  readonly authorization: string | null;
}

/** What one client does in one repository before it takes the next. */
export interface Visit {
  readonly repository: number;
  readonly act:
    | { readonly kind: 'open' }
    /** A backup as its server sees it: config, lists, a lock, packs, an index, a snapshot, the lock taken away. */
    | { readonly kind: 'backup'; readonly packs: number }
    /** Packs alone, and each of them read again when all have been sent. */
    | { readonly kind: 'packs'; readonly packs: number };
}

export interface LoadPlan {
  readonly repositories: readonly LoadRepository[];
  readonly clients: number;
  readonly visits: readonly Visit[];
  readonly packBytes: number;
}

export interface LoadFigures {
  readonly seconds: number;
  readonly requests: number;
  /** Of each upload of a pack, in milliseconds: from its first byte to the answer's last. */
  readonly uploads: readonly number[];
  readonly downloads: readonly number[];
  readonly errorCount: number;
  /** The first few. */
  readonly errors: readonly string[];
}

/** @param address as restic takes it: `rest:http://user:password@host:port/repository/` */
export function loadRepository(address: string): LoadRepository {
  const url = new URL(address.replace(/^rest:/, ''));
  const said = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  return {
    port: Number(url.port),
    path: url.pathname,
    authorization: said === ':' ? null : `Basic ${Buffer.from(said).toString('base64')}`,
  };
}
