import type { ServerFacts } from '#contracts/replication';
import { valueOf, type ServerLook } from './server-look.js';

/** Compiled into the server, and part of every one of its files. */
const PRESETS = ['block_size', 'wal_block_size', 'segment_size', 'wal_segment_size'] as const;

/**
 * The facts with what a site compares beside them: the version says the platform (`15.14 on x86_64-pc-linux-gnu`), and
 * the parameters have the preset options and the locales of the databases, by PostgreSQL's names of them.
 */
export function withBuild(facts: ServerFacts, look: ServerLook): ServerFacts {
  const platform = platformOf(look);
  const presets = PRESETS.flatMap((name) => {
    const value = valueOf(look, name);
    return value === undefined ? [] : [[name, value] as const];
  });
  const locales = {
    lc_collate: distinct(look.locales.map(({ collate }) => collate)),
    lc_ctype: distinct(look.locales.map(({ ctype }) => ctype)),
    icu_locale: distinct(look.locales.map(({ icu }) => icu)),
  };
  return {
    ...facts,
    version: platform === undefined ? facts.version : `${facts.version} on ${platform}`,
    parameters: { ...facts.parameters, ...Object.fromEntries(presets), ...locales },
  };
}

/** From `PostgreSQL 15.14 (Debian …) on x86_64-pc-linux-gnu, compiled by gcc …, 64-bit`. */
function platformOf({ versionText }: ServerLook): string | undefined {
  return / on ([^\s,]+),/.exec(versionText)?.[1];
}

function distinct(names: readonly (string | null)[]): string {
  return [...new Set(names.filter((name) => name !== null))].sort().join(', ');
}
