/** One stream of a workload, which becomes one snapshot with one file in it. */
export interface SourcePart {
  /** The database; of a command, its file. */
  readonly part: string;
  /** In the snapshot, without a folder. */
  readonly fileName: string;
  /** The program, by its absolute path, and its arguments: never a secret. */
  readonly command: readonly string[];
  /** For restic, which hands it on. */
  readonly env?: Readonly<Record<string, string>>;
}
