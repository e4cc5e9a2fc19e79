import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { keptDirectory } from '#libs/platform/postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ServerFacts } from '#contracts/replication';
import { ProcessDriver, type SiteBuild } from '#libs/sites/site';
import { collationFindings } from './collation-findings.js';
import { roomFindings, siteFindings } from './site-findings.js';

let folder: string;
let driver: ProcessDriver;
let build: SiteBuild;
let like: ServerFacts;

beforeAll(async () => {
  folder = await keptDirectory(await mkdtemp(path.join(tmpdir(), 'mainstay-findings-')));
  driver = new ProcessDriver({ root: path.join(folder, 'standbys'), durable: false });
  const [majorVersion = 0] = await driver.supportedMajors();
  build = await driver.build(majorVersion);
  like = {
    version: `${majorVersion}.3 on ${build.platform}`,
    majorVersion,
    systemIdentifier: '7',
    timeline: 1,
    superuser: 'postgres',
    parameters: { ...build.settings, lc_collate: 'C, C.UTF-8', lc_ctype: 'C.UTF-8', icu_locale: '' },
    preloadLibraries: ['pg_stat_statements', '$libdir/auto_explain.so'],
    extensions: [{ database: 'permits', name: 'plpgsql', version: '1.0' }],
    collations: [...build.collations],
    tablespaces: [{ oid: 1, name: 'archive', location: '/srv/tablespaces/mainstay-test/archive' }],
    hbaRules: [],
    sizeBytes: 1e6,
    dataChecksums: true,
    walLogHints: false,
  };
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const codes = async (over: Partial<ServerFacts>) =>
  (await siteFindings({ ...like, ...over }, driver)).map(({ code, severity }) => `${severity} ${code}`);
const parameters = (over: Record<string, string>) => ({ parameters: { ...like.parameters, ...over } });

test('a server of the same kind can have its standby here, whoever made its compiler', async () => {
  expect(await codes({})).toEqual([]);
  expect(await codes({ version: like.version.replace('-pc-', '-unknown-') })).toEqual([]);
  // An older agent does not say; the copy itself is checked again later.
  expect(await codes({ version: '15.3', parameters: {} })).toEqual([]);
  expect(await roomFindings(like, driver)).toEqual([]);
});

test('another processor, other blocks, or no room cannot be helped here', async () => {
  const other = build.platform!.startsWith('aarch64') ? 'x86_64-pc-linux-gnu' : 'aarch64-unknown-linux-gnu';
  const [finding] = await siteFindings({ ...like, version: `15.3 on ${other}` }, driver);
  expect(finding).toMatchObject({ code: 'site.architecture', severity: 'blocker' });
  expect(finding!.what).toContain(other);
  expect(finding!.remedy).toContain('same processor architecture');
  expect(await codes({ version: '15.3 on powerpc-ibm-aix7.2.0.0' })).toEqual(['blocker site.architecture']);
  expect(await codes(parameters({ block_size: '32768' }))).toEqual(['blocker site.block-size']);
  expect(await roomFindings({ ...like, sizeBytes: 1e15 }, driver)).toMatchObject([
    { code: 'site.disk-too-small', severity: 'blocker' },
  ]);
});

test('libraries, extensions and tablespaces that the site lacks', async () => {
  expect(await codes({ preloadLibraries: ['timescaledb'] })).toEqual(['blocker site.library-missing']);
  for (const value of ['pg_hint_plan', 'base/auto_explain', '/tmp/auto_explain.so', '$libdir/../auto_explain']) {
    expect(await codes(parameters({ session_preload_libraries: value }))).toEqual(['blocker site.library-missing']);
  }
  const [missing] = await siteFindings(
    { ...like, extensions: [{ database: 'gis', name: 'postgis', version: '3.4.0' }] },
    driver,
  );
  expect(missing).toMatchObject({ code: 'site.extension-missing', severity: 'blocker' });
  expect(missing!.what).toContain('postgis 3.4.0 (gis)');
  expect(await codes({ extensions: [{ database: 'gis', name: 'plpgsql', version: '9.9' }] })).toEqual([
    'warning site.extension-version',
  ]);
  expect(await codes({ tablespaces: [{ oid: 1, name: 'odd', location: '/etc/postgresql' }] })).toEqual([
    'warning site.tablespace-path',
  ]);
});

test('sorting rules: another version is a blocker where a database sorts by them, a missing locale always', async () => {
  const debian = { ...build, locales: ['C', 'en_US.utf8'], collations: [{ provider: 'libc', version: '2.36' }] };
  const found = (over: Record<string, string>, version = '2.31', provider = 'libc') =>
    collationFindings({ ...like, ...parameters(over), collations: [{ provider, version }] }, debian).map(
      ({ code, severity }) => `${severity} ${code}`,
    );
  expect(found({}, '2.36')).toEqual([]);
  expect(found({})).toEqual(['warning site.collation-version']);
  expect(found({ lc_collate: 'en_US.UTF-8' })).toEqual(['blocker site.collation-version']);
  expect(found({ lc_collate: 'en_US.UTF-8' }, '2.36')).toEqual([]);
  expect(found({ lc_ctype: 'de_DE.UTF-8' }, '2.36')).toEqual(['blocker site.locale-missing']);
  // What the site does not know of itself is not compared.
  expect(found({ icu_locale: 'en-US' }, '153.14', 'icu')).toEqual([]);
  const withIcu = { ...debian, collations: [{ provider: 'icu', version: '153.120' }] };
  const [icu] = collationFindings(
    { ...like, ...parameters({ icu_locale: 'en-US' }), collations: [{ provider: 'icu', version: '153.14' }] },
    withIcu,
  );
  expect(icu).toMatchObject({ code: 'site.collation-version', severity: 'blocker' });
  expect(icu!.remedy).toContain('REINDEX');
});
