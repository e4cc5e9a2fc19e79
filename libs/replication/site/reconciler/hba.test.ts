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
const methods = (...rules: ReturnType<typeof rule>[]) =>
  renderedRules(rules as Parameters<typeof renderedRules>[0], TEST_NAMES)
    .filter(({ user }) => user === 'clerk')
    .map(({ method }) => method);

test('who is refused from everywhere is refused at the site, however "everywhere" is written', () => {
  for (const address of ['0.0.0.0/0', '::/0', '0.0.0.0', '::', 'all', null]) {
    expect(methods(rule('reject', address), rule('scram-sha-256', '10.0.0.0/8'))).toEqual(['reject']);
  }
  expect(methods(rule('reject', '10.1.0.0/16'), rule('scram-sha-256', '10.0.0.0/8'))).toEqual(['scram-sha-256']);
});
