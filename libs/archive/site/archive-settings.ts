import type { ServiceKey } from './keys/key-ring.js';
import type { VaultStorage } from './vault/storage.js';

/** What apps/site says of the archive in its environment. */
export interface ArchiveSettings {
  /** A folder of the archive's own: caches, scratch, standing copies, keys made at the first start. */
  readonly directory: string;
  readonly databaseUrl: string;
  readonly vault: {
    readonly host: string;
    /** 0: a free one. */
    readonly port: number;
    /** `https://host:port`, as agents reach it; by host and port when null. */
    readonly url: string | null;
    /** PEM of a certificate that agents trust anyway; by the vault's own authority when null. */
    readonly tls: { readonly certificate: string; readonly key: string } | null;
    /** In {@link directory} when null. */
    readonly storage: VaultStorage | null;
    /** Days for which what clients removed can be brought back; 7 when left out. */
    readonly keepRemovedDays?: number;
  };
  /** 32 bytes, seals passwords; made in {@link directory} when null. */
  readonly kekFile: string | null;
  /** Keys of before, to open what they sealed. */
  readonly oldKekFiles: readonly string[];
  /** A key service's, which seals instead of the file's; none when left out. */
  readonly serviceKey?: ServiceKey | null;
  /** The program; the first of PATH that is new enough when null. */
  readonly restic: string | null;
}

export const ARCHIVE_SETTINGS = Symbol('archive settings');
/** PEM of the authority that signs the vault's own certificates. */
export const VAULT_AUTHORITY = Symbol('vault authority');
