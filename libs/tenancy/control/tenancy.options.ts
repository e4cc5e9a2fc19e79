/** What tenancy needs to know of the installation. */
export interface TenancyOptions {
  /** Where people reach Mainstay: for the links in mails. */
  readonly publicUrl: string;
  /** Stands in API keys, so that a key of a test installation is known at sight: `live`, `test`, `local`. */
  readonly environment: string;
}

export const TENANCY_OPTIONS = Symbol('tenancy options');
