import { randomUUID } from 'node:crypto';
import { access, mkdtemp, mkdir, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { certificateFingerprint, createAuthority, createKeyPair, issueCertificate } from '#libs/link';
import { freePort } from '#libs/platform/postgres';
import type { AgentEndConfiguration } from './agent-end.js';
import type { Route } from './cluster.js';
import { output, startEnd, startProgram, timed, waitForPort, type Cleanup } from './programs.js';
import type { SiteEndAnswer, SiteEndConfiguration } from './site-end.js';

export interface TunnelPlace {
  /** Where the site's end listens. */
  readonly siteHost: string;
  /** The network namespace of the site's end; this one when left out. */
  readonly namespace?: string;
  /** One way, between agent and gateway. */
  readonly delayMs?: number;
}

/** Our tunnel: two processes, links and streams as in production. The route is the site's local port. */
export async function tunnelRoute(cleanup: Cleanup, postgresPort: number, place: TunnelPlace): Promise<Route> {
  const authority = await createAuthority('Benchmark');
  const certified = await issueCertificate(authority, { commonName: 'gateway', usages: ['server'] });
  const { privateKey, publicKey } = createKeyPair();
  const agentId = randomUUID();
  const { siteHost: host, namespace, delayMs = 0 } = place;
  const site: SiteEndConfiguration = {
    host,
    agentId,
    publicKey,
    key: certified.privateKey,
    certificate: certified.certificate,
  };
  const { gatewayPort, localPort } = await startEnd<SiteEndAnswer>(cleanup, 'site-end', site, namespace);
  let dialled = { host, port: gatewayPort };
  if (delayMs > 0) {
    const line = { target: dialled, delayMs, host: '127.0.0.1' };
    dialled = { host: '127.0.0.1', ...(await startEnd<{ port: number }>(cleanup, 'delay-end', line)) };
  }
  const agent: AgentEndConfiguration = {
    agentId,
    privateKey,
    site: {
      siteId: randomUUID(),
      ...dialled,
      certificateFingerprint: certificateFingerprint(certified.certificate),
    },
    postgresPort,
  };
  await startEnd(cleanup, 'agent-end', agent);
  return { host, port: localPort, sslmode: 'disable' };
}

async function firstOf(files: readonly string[]): Promise<string | undefined> {
  for (const file of files) {
    if (
      await access(file).then(
        () => true,
        () => false,
      )
    )
      return file;
  }
  return undefined;
}

/** OpenSSH: the agency's client forwards a port of the site's server to PostgreSQL; undefined when it is not installed. */
export async function sshRoute(cleanup: Cleanup, postgresPort: number): Promise<Route | undefined> {
  const server = await firstOf(['/usr/sbin/sshd', '/usr/local/sbin/sshd']);
  if (!server || userInfo().uid !== 0) return undefined;
  const folder = await privateFolder(cleanup);
  for (const name of ['host', 'user']) {
    await timed('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', path.join(folder, name)]);
  }
  await mkdir('/run/sshd', { recursive: true });
  const [port, forwarded] = [await freePort(), await freePort()];
  const options = [
    `Port=${port}`,
    'ListenAddress=127.0.0.1',
    `HostKey=${folder}/host`,
    `AuthorizedKeysFile=${folder}/user.pub`,
    'StrictModes=no',
    'UsePAM=no',
    'PermitRootLogin=prohibit-password',
    'PidFile=none',
  ];
  startProgram(cleanup, server, ['-D', '-e', '-f', '/dev/null', ...options.flatMap((option) => ['-o', option])]);
  await waitForPort(port);
  const client = [
    'StrictHostKeyChecking=no',
    'UserKnownHostsFile=/dev/null',
    'ExitOnForwardFailure=yes',
    'LogLevel=ERROR',
  ];
  const forward = `127.0.0.1:${forwarded}:127.0.0.1:${postgresPort}`;
  startProgram(cleanup, 'ssh', [
    ...['-N', '-F', '/dev/null', '-i', path.join(folder, 'user'), '-p', String(port), '-R', forward],
    ...client.flatMap((option) => ['-o', option]),
    `${userInfo().username}@127.0.0.1`,
  ]);
  await waitForPort(forwarded);
  return { host: '127.0.0.1', port: forwarded, sslmode: 'disable' };
}

/** stunnel: the site's client dials the agency's server (it has no reverse mode); undefined when it is not installed. */
export async function stunnelRoute(cleanup: Cleanup, postgresPort: number): Promise<Route | undefined> {
  const program = await firstOf(['/usr/bin/stunnel4', '/usr/bin/stunnel', '/usr/local/bin/stunnel']);
  if (!program) return undefined;
  const folder = await privateFolder(cleanup);
  const authority = await createAuthority('Benchmark');
  const { certificate, privateKey } = await issueCertificate(authority, { commonName: 'stunnel', usages: ['server'] });
  await writeFile(path.join(folder, 'server.pem'), `${privateKey}${certificate}`, { mode: 0o600 });
  const [secure, local] = [await freePort(), await freePort()];
  const common = 'foreground = yes\npid =\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\ndebug = 3\n';
  const ends = {
    agency: `[bench]\naccept = 127.0.0.1:${secure}\nconnect = 127.0.0.1:${postgresPort}\ncert = ${folder}/server.pem\n`,
    site: `[bench]\nclient = yes\naccept = 127.0.0.1:${local}\nconnect = 127.0.0.1:${secure}\n`,
  };
  for (const [name, text] of Object.entries(ends)) {
    const file = path.join(folder, `${name}.conf`);
    await writeFile(file, common + text);
    startProgram(cleanup, program, [file]);
  }
  await waitForPort(secure);
  await waitForPort(local);
  return { host: '127.0.0.1', port: local, sslmode: 'disable' };
}

async function privateFolder(cleanup: Cleanup): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'mainstay-bench-'));
  cleanup.add(() => timed('rm', ['-rf', folder]));
  return folder;
}

/** Two network namespaces joined by a link of this speed: this one, and a new one for the site. */
export async function narrowLine(
  cleanup: Cleanup,
  megabitsPerSecond: number,
): Promise<{ namespace: string; agencyHost: string; siteHost: string } | undefined> {
  if (userInfo().uid !== 0 || !(await firstOf(['/usr/sbin/tc', '/sbin/tc']))) return undefined;
  const tag = `msb${process.pid}`;
  const [agencyHost, siteHost] = [`10.213.${process.pid % 250}.1`, `10.213.${process.pid % 250}.2`];
  const ip = (...args: string[]): Promise<string> => output('ip', args);
  await ip('netns', 'add', tag);
  cleanup.add(() => ip('netns', 'del', tag));
  await ip('link', 'add', `${tag}a`, 'type', 'veth', 'peer', 'name', `${tag}b`);
  await ip('link', 'set', `${tag}b`, 'netns', tag);
  await ip('addr', 'add', `${agencyHost}/24`, 'dev', `${tag}a`);
  await ip('link', 'set', `${tag}a`, 'up');
  const inside = (...args: string[]): Promise<string> => ip('netns', 'exec', tag, ...args);
  await inside('ip', 'addr', 'add', `${siteHost}/24`, 'dev', `${tag}b`);
  await inside('ip', 'link', 'set', `${tag}b`, 'up');
  await inside('ip', 'link', 'set', 'lo', 'up');
  const shape = ['root', 'tbf', 'rate', `${megabitsPerSecond}mbit`, 'burst', '256kb', 'latency', '50ms'];
  await output('tc', ['qdisc', 'add', 'dev', `${tag}a`, ...shape]);
  await inside('tc', 'qdisc', 'add', 'dev', `${tag}b`, ...shape);
  return { namespace: tag, agencyHost, siteHost };
}
