import { Socket } from 'node:net';
import { expect, test } from 'vitest';
import { Pace } from './pace.js';
import { turnOf } from './rates.js';

const KEPT_ALIVE_MS = 120_000;

test('a turn that outlasts its request leaves the connection the silence that the next one set', async () => {
  const socket = new Socket();
  socket.setTimeout(60_000);
  const turn = turnOf(new Pace(1_000), 50, socket);
  expect(socket.timeout).toBe(0);
  // The upload failed meanwhile, and was answered.
  socket.setTimeout(KEPT_ALIVE_MS);
  await turn;
  expect(socket.timeout).toBe(KEPT_ALIVE_MS);
  await turnOf(new Pace(1_000), 50, socket);
  expect(socket.timeout).toBe(KEPT_ALIVE_MS);
  socket.destroy();
});
