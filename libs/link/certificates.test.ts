import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { expect, test } from 'vitest';
import { certificateFingerprint, createAuthority, issueCertificate } from './certificates.js';

test('certificates of one authority make mutual TLS, and a stranger is turned away', async () => {
  const authority = await createAuthority('Test authority');
  const server = await issueCertificate(authority, {
    commonName: 'site',
    ipAddresses: ['127.0.0.1'],
    dnsNames: ['localhost'],
    usages: ['server'],
  });
  const client = await issueCertificate(authority, { commonName: 'control', usages: ['client'] });
  const stranger = await issueCertificate(await createAuthority('Another'), { commonName: 'x', usages: ['client'] });
  const listening = createServer(
    {
      key: server.privateKey,
      cert: server.certificate,
      ca: authority.certificate,
      requestCert: true,
      rejectUnauthorized: true,
    },
    (socket) => socket.end('welcome'),
  );
  listening.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  const { port } = listening.address() as AddressInfo;
  const dial = (own: typeof client): TLSSocket =>
    connect({ port, host: '127.0.0.1', ca: authority.certificate, key: own.privateKey, cert: own.certificate });

  const welcome = dial(client);
  const [chunk] = (await once(welcome, 'data')) as [Buffer];
  expect(chunk.toString()).toBe('welcome');
  expect(certificateFingerprint(welcome.getPeerX509Certificate()?.raw ?? '')).toBe(
    certificateFingerprint(server.certificate),
  );
  welcome.destroy();

  const refused = dial(stranger);
  const answer = await new Promise((resolve) => {
    refused
      .once('data', resolve)
      .once('error', () => resolve('refused'))
      .once('close', () => resolve('refused'));
  });
  expect(answer).toBe('refused');
  listening.close();
});
