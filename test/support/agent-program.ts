import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { certificateFingerprint, createAuthority, issueCertificate, TunnelGateway } from '#libs/link';

/** The built agent, as a service starts it. */
export const AGENT_MAIN = path.resolve(import.meta.dirname, '../../dist/apps/agent/main.js');
export const ENROL_TOKEN = 'mainstay_enrol_0123456789abcdefghijklmnop';

export interface OpenGateway {
  readonly gateway: TunnelGateway;
  readonly port: number;
  readonly certificateFingerprint: string;
}

/** A warm site's gateway that lets in whoever has the private half of this key. */
export async function openGateway(publicKey: () => string): Promise<OpenGateway> {
  const { certificate, privateKey } = await issueCertificate(await createAuthority('test'), {
    commonName: 'gateway',
    ipAddresses: ['127.0.0.1'],
    usages: ['server'],
  });
  const gateway = new TunnelGateway({
    tls: { key: privateKey, certificate },
    host: '127.0.0.1',
    port: 0,
    authenticate: async () => ({ accepted: true, publicKey: publicKey() }),
  });
  const { port } = await gateway.listen();
  return { gateway, port, certificateFingerprint: certificateFingerprint(certificate) };
}

/** The process that wrote such a file (`run.pid`, `tunnel.pid`) into the agent's directory. */
export async function pidIn(home: string, file: string): Promise<number> {
  const pid = Number.parseInt(await readFile(path.join(home, file), 'utf8'), 10);
  if (!Number.isInteger(pid)) throw new Error(`${file} is being written`);
  return pid;
}
