import { expect, test } from 'vitest';
import { BURST_OF_A_SOURCE, ClientGate, CONNECTIONS_OF_A_SOURCE, RATE_OF_A_SOURCE } from './client-gate.js';

test('networks of both kinds, whatever the socket calls an address; an empty list is nobody', () => {
  let networks: readonly string[] = [];
  const gate = new ClientGate(
    () => networks,
    () => 0,
  );
  for (const address of ['127.0.0.1', '::1', '203.0.113.7']) expect(gate.enter(address)).toBe(false);
  networks = ['10.20.0.0/16', '2001:db8::/48'];
  expect(gate.allows('10.20.255.1')).toBe(true);
  expect(gate.allows('::ffff:10.20.0.9')).toBe(true);
  expect(gate.allows('10.21.0.1')).toBe(false);
  expect(gate.allows('2001:db8:0:9::1')).toBe(true);
  expect(gate.allows('2001:db8:1::1')).toBe(false);
  // All of one kind is not all of the other.
  networks = ['0.0.0.0/0'];
  expect(gate.allows('198.51.100.1')).toBe(true);
  expect(gate.allows('2001:db8::1')).toBe(false);
});

test('one source has only so many connections, and makes only so many a second; another is not held up by it', () => {
  let now = 0;
  const gate = new ClientGate(
    () => ['0.0.0.0/0', '::/0'],
    () => now,
  );
  const knock = (times: number, address: string) =>
    Array.from({ length: times }, () => gate.enter(address)).filter(Boolean).length;
  const guesser = '203.0.113.7';
  expect(knock(BURST_OF_A_SOURCE + 10, guesser)).toBe(BURST_OF_A_SOURCE);
  expect(gate.enter('203.0.113.8')).toBe(true);
  for (let left = 0; left < BURST_OF_A_SOURCE; left++) gate.leave(guesser);
  now += 1_000;
  expect(knock(BURST_OF_A_SOURCE, guesser)).toBe(RATE_OF_A_SOURCE);

  // Whoever has one address of a /64 has all of them.
  let open = 0;
  for (let host = 1; host <= CONNECTIONS_OF_A_SOURCE + 100; host++) {
    now += 1_000;
    if (gate.enter(`2001:db8:0:1::${host.toString(16)}`)) open += 1;
  }
  expect(open).toBe(CONNECTIONS_OF_A_SOURCE);
  gate.leave('2001:db8:0:1::ffff');
  expect(gate.enter('2001:db8:0:1::1')).toBe(true);
  expect(gate.enter('2001:db8:0:2::1')).toBe(true);
});
