import { once } from 'node:events';
import net from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { FrontDoor, type FrontDoorTarget } from './front-door.js';
import { LocalForwarder } from './local-forwarder.js';
import { linked, SOON, startAgent, startEcho, startServer, startSite } from './test-links.js';

function client(port: number): net.Socket {
  const socket = net.connect({ port, host: '127.0.0.1' });
  socket.on('error', () => undefined);
  onTestFinished(() => void socket.destroy());
  return socket;
}

async function exchange(socket: net.Socket, text: string): Promise<string> {
  socket.write(text);
  return String((await once(socket, 'data'))[0]);
}

const ended = (socket: net.Socket): Promise<void> =>
  new Promise((resolve) => void socket.once('close', () => resolve()).resume());

test('a local port leads through the tunnel, and resets its clients when the tunnel cannot', async () => {
  const site = await startSite();
  const agent = startAgent(site, { workloads: { permits: await startEcho() } });
  const forwarder = new LocalForwarder({ open: () => site.gateway.open(agent.agentId, 'permits', 'sync') });
  onTestFinished(() => forwarder.close());
  const { port, address } = await forwarder.listen();
  expect(address).toBe('127.0.0.1');
  await ended(client(port));
  await linked(site, agent);
  const [first, second] = [client(port), client(port)];
  expect(await exchange(first, 'one')).toBe('one');
  expect(await exchange(second, 'two')).toBe('two');
  expect(forwarder.connections).toBe(2);
  first.end();
  await ended(first);
  expect(await exchange(second, 'three')).toBe('three');
  site.gateway.revoke(agent.agentId);
  await ended(second);
  await waitFor('no connection to be left', () => forwarder.connections === 0, SOON);
});

test('a front door leads where it is told to, and a switch closes what led elsewhere', async () => {
  const site = await startSite();
  const named = (name: string) => startServer((socket) => socket.on('data', () => socket.write(name)));
  const agent = startAgent(site, { workloads: { permits: await named('production') } });
  await linked(site, agent);
  const production: FrontDoorTarget = {
    key: 'production',
    kind: 'tunnel',
    open: () => site.gateway.open(agent.agentId, 'permits', 'sync'),
  };
  const standby: FrontDoorTarget = { key: 'standby', kind: 'tcp', host: '127.0.0.1', port: await named('standby') };
  let target: FrontDoorTarget | undefined = production;
  const door = new FrontDoor({ host: '127.0.0.1', port: 0, target: () => target });
  onTestFinished(() => door.close());
  const { port } = await door.listen();
  const before = client(port);
  expect(await exchange(before, '?')).toBe('production');
  target = standby;
  const closed = ended(before);
  expect(door.switchTo('standby')).toBe(1);
  await closed;
  const after = client(port);
  expect(await exchange(after, '?')).toBe('standby');
  expect(door.switchTo('standby')).toBe(0);
  target = undefined;
  await ended(client(port));
  await waitFor('the counts', () => door.counts().open === 1, SOON);
  expect(door.counts()).toEqual({ open: 1, accepted: 3, failed: 1, switched: 1 });
});

test('a client that came before a switch and is connected after it does not reach the old place', async () => {
  let connect!: () => void;
  const waiting = new Promise<void>((resolve) => (connect = resolve));
  const echo = await startEcho();
  const door = new FrontDoor({
    host: '127.0.0.1',
    port: 0,
    target: () => ({
      key: 'production',
      kind: 'tunnel',
      open: async () => {
        await waiting;
        return net.connect({ port: echo, host: '127.0.0.1' });
      },
    }),
  });
  onTestFinished(() => door.close());
  const late = client((await door.listen()).port);
  late.write('too late');
  let answered = false;
  late.on('data', () => (answered = true));
  await waitFor('the client to be in', () => door.counts().open === 1, SOON);
  const gone = ended(late);
  door.switchTo('standby');
  connect();
  await gone;
  expect(answered).toBe(false);
});
