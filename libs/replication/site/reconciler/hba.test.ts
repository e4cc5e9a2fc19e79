import { expect, test } from 'vitest';
import { TEST_NAMES } from '#test/agency';
import { renderedRules } from './hba.js';

const rule = (method: string, address: string | null, user = 'clerk') => ({
  type: 'host',
  database: ['all'],
  user: [user],
  address,
  method,
});
type Rules = Parameters<typeof renderedRules>[0];
/** Without those of the sites' own roles: database, user and method of each. */
const rules = (...said: Rules) =>
  renderedRules(said, TEST_NAMES)
    .slice(2)
    .map(({ database, user, method }) => `${database} ${user} ${method}`);
const methods = (...said: Rules) =>
  renderedRules(said, TEST_NAMES)
    .filter(({ user }) => user === 'clerk')
    .map(({ method }) => method);

test('who is refused from everywhere is refused at the site, however "everywhere" is written', () => {
  for (const address of ['0.0.0.0/0', '::/0', '0.0.0.0', '::', 'all', null]) {
    expect(methods(rule('reject', address), rule('scram-sha-256', '10.0.0.0/8'))).toEqual(['reject']);
  }
  expect(methods(rule('reject', '10.1.0.0/16'), rule('scram-sha-256', '10.0.0.0/8'))).toEqual(['scram-sha-256']);
});

test('who cannot be named at a site, and is refused, is let in by no wider rule: everybody is refused there', () => {
  const everybody = { ...rule('scram-sha-256', '10.0.0.0/8'), user: ['all'] };
  for (const name of ['+contractors', '/^tmp_', '@former', 'the "old" clerk']) {
    expect(rules({ ...everybody, user: ['pat', name], address: 'all', method: 'reject' }, everybody)).toEqual([
      'all pat reject',
      'all all reject',
    ]);
    const elsewhere = { ...everybody, database: [name], user: ['pat'], address: 'all', method: 'reject' };
    expect(rules(elsewhere, everybody)).toEqual(['all pat reject', 'all all scram-sha-256']);
  }
  const permits = { ...everybody, database: ['permits'], user: ['+contractors'], address: 'all', method: 'reject' };
  expect(rules(permits, everybody)).toEqual(['permits all reject', 'all all scram-sha-256']);
  // Whom it lets in stays behind, and lets in nobody else.
  expect(rules({ ...everybody, user: ['+contractors', 'clerk@town'] })).toEqual(['all clerk@town scram-sha-256']);
});

test('who is refused by the name of a machine is let in from none: a site cannot tell them apart', () => {
  for (const address of ['desk.town.example', '.town.example']) {
    expect(methods(rule('reject', address), rule('scram-sha-256', '10.0.0.0/8'))).toEqual(['reject']);
    expect(methods(rule('scram-sha-256', address))).toEqual(['scram-sha-256']);
  }
});

test('who must use TLS at home, or must not, does so at the site', () => {
  const typed = (type: string, method = 'scram-sha-256') => ({ ...rule(method, '10.0.0.0/8'), type });
  const types = (...said: Rules) =>
    renderedRules(said, TEST_NAMES)
      .slice(2)
      .map(({ type, method }) => `${type} ${method}`);
  expect(types(typed('hostssl'), typed('hostnossl', 'md5'))).toEqual(['hostssl scram-sha-256', 'hostnossl md5']);
  expect(types({ ...typed('hostnossl', 'reject'), address: 'all' }, typed('host'))).toEqual([
    'hostnossl reject',
    'host scram-sha-256',
  ]);
  // The first rule is about both, so the others decide nothing.
  expect(types(typed('host'), typed('hostssl', 'md5'), typed('hostnossl', 'md5'))).toEqual(['host scram-sha-256']);
  // Encryption by Kerberos stays at home, with what is said of it.
  expect(types({ ...typed('hostgssenc', 'reject'), address: 'all' }, typed('hostnogssenc'))).toEqual([
    'host scram-sha-256',
  ]);
});
