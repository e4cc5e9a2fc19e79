import type { Finding, ServerFacts } from '#contracts/replication';
import type { SiteBuild } from '#libs/sites/site';
import { blocker, listed, warning } from './finding.js';

const OWN: Readonly<Record<string, string>> = {
  libc: "the C library's",
  icu: "ICU's",
};

/**
 * Text indexes are in the order of the operating system's rules: under other rules rows are missed and unique indexes
 * let doubles in. A database that sorts by bytes (C, POSIX) does not mind.
 */
export function collationFindings(server: ServerFacts, build: SiteBuild): Finding[] {
  return [...checkVersions(server, build), ...checkLocales(server, build)];
}

function checkVersions(server: ServerFacts, build: SiteBuild): Finding[] {
  return server.collations.flatMap(({ provider, version }) => {
    const here = build.collations.find((each) => each.provider === provider)?.version;
    if (here === undefined || here === version) return [];
    const what = `The sorting rules of text differ: ${OWN[provider] ?? provider} version is ${version} at the server and ${here} at the site.`;
    const used = localesOf(server, provider).filter((name) => !isByBytes(name));
    if (used.length === 0) {
      const remedy = `After a failover, REINDEX what uses a ${provider} collation.`;
      return [warning('site.collation-version', `${what} No database sorts by them as a rule.`, remedy)];
    }
    return [
      blocker(
        'site.collation-version',
        `${what} Indexes of databases in ${listed(used)} would miss rows after a failover.`,
        'Choose a site with the same version of the operating system, or bring both to one; REINDEX and ALTER DATABASE … REFRESH COLLATION VERSION where it changes.',
      ),
    ];
  });
}

/** A database in a locale that is not installed lets nobody in. */
function checkLocales(server: ServerFacts, build: SiteBuild): Finding[] {
  const has = new Set(build.locales.map(plain));
  const wanted = new Set([...localesOf(server, 'libc'), ...namesIn(server.parameters['lc_ctype'])]);
  const missing = [...wanted].filter((name) => !isByBytes(name) && !has.has(plain(name)));
  if (missing.length === 0) return [];
  return [
    blocker(
      'site.locale-missing',
      `The site does not have the locales ${listed(missing)}: after a failover nobody could sign in to these databases.`,
      'Ask the provider to install them at the site (locale-gen), or choose another site.',
    ),
  ];
}

/** Preflight lists the databases' own among the parameters, by PostgreSQL's names of them. */
function localesOf({ parameters }: ServerFacts, provider: string): string[] {
  return namesIn(parameters[provider === 'icu' ? 'icu_locale' : 'lc_collate']);
}

const namesIn = (text = ''): string[] => text.split(',').flatMap((name) => name.trim() || []);

const isByBytes = (name: string): boolean => /^(C|POSIX)(\.|$)/i.test(name);

/** `en_US.UTF-8` and `en_US.utf8` are one. */
const plain = (name: string): string => name.toLowerCase().replaceAll(/[^a-z0-9_.@]/g, '');
