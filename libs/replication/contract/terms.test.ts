import { expect, test } from 'vitest';
import { preflightReport, serverFacts, type ServerFacts } from './terms.js';

type Rule = ServerFacts['hbaRules'][number];

const rule = (over: Partial<Rule> = {}): Rule => ({
  type: 'host',
  database: ['all'],
  user: ['clerk'],
  address: '10.0.0.0/8',
  method: 'md5',
  ...over,
});
const facts = (...hbaRules: Rule[]): ServerFacts => ({
  version: '15.3',
  majorVersion: 15,
  systemIdentifier: '7',
  timeline: 1,
  superuser: 'postgres',
  parameters: {},
  preloadLibraries: [],
  extensions: [],
  collations: [],
  tablespaces: [],
  hbaRules,
  sizeBytes: 1e6,
  dataChecksums: true,
  walLogHints: false,
});
const many = Array.from({ length: 1_001 }, (_, number) => `clerk${number}`);
const long = ['x'.repeat(201)];

test('a rule that is too long for the sites is left out, and the rest of the server’s facts arrive', () => {
  const said = facts(rule({ user: many }), rule({ database: long }), rule());
  expect(serverFacts.parse(said)).toEqual(facts(rule()));
  const report = preflightReport.parse({ ok: true, findings: [], server: said });
  expect(report).toMatchObject({ ok: true, server: facts(rule()) });
  expect(report.findings).toMatchObject([{ code: 'server.hba-rules-left-out', severity: 'warning' }]);
  expect(report.findings[0]?.what).toMatch(/^2 rules/);
  // Told once, whoever passes it on.
  expect(preflightReport.parse(report)).toEqual(report);
  expect(preflightReport.parse({ ok: true, findings: [], server: facts(rule()) }).findings).toEqual([]);
});

test('what refuses somebody refuses everybody then: nobody is let in by a rule that comes after it', () => {
  const everywhere = { address: '0.0.0.0/0', method: 'reject' };
  const kept = serverFacts.parse(facts(rule({ ...everywhere, user: many }), rule()));
  expect(kept.hbaRules).toEqual([rule({ ...everywhere, user: ['all'] }), rule()]);
  const machine = { address: `${'desk.'.repeat(60)}example`, method: 'reject' };
  expect(serverFacts.parse(facts(rule(machine), rule())).hbaRules).toEqual([
    rule({ user: ['all'], address: 'all', method: 'reject' }),
    rule(),
  ]);
});

test('of too many rules the first ones are kept, and somebody is told', () => {
  const report = preflightReport.parse({
    ok: true,
    findings: [],
    server: facts(...Array.from({ length: 2_003 }, () => rule())),
  });
  expect(report.server?.hbaRules).toHaveLength(2_000);
  expect(report.findings[0]?.what).toMatch(/^3 rules/);
});

test('a site writes a line for each database and user of a rule, so of too many pairs the first ones are kept', () => {
  const names = many.slice(1);
  const databases = names.map((name) => `of_${name}`);
  const refused = rule({ database: databases, user: names, address: 'all', method: 'reject' });
  expect(serverFacts.parse(facts(rule({ database: databases, user: names }), refused, rule())).hbaRules).toEqual([
    rule({ database: ['all'], user: ['all'], address: 'all', method: 'reject' }),
    rule(),
  ]);
  const server = facts(...Array.from({ length: 23 }, (_, number) => rule({ database: [`of${number}`], user: names })));
  const report = preflightReport.parse({ ok: true, findings: [], server });
  expect(report.server?.hbaRules).toEqual(server.hbaRules.slice(0, 20));
  expect(report.findings[0]?.what).toMatch(/^3 rules/);
  expect(preflightReport.parse(report)).toEqual(report);
});
