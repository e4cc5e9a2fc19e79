#!/usr/bin/env node
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { gateAnswer, passGate } from '#libs/failover/agent';
import { SystemClock } from '#libs/platform/clock';
import { DomainError, errorText } from '#libs/platform/errors';
import { createLogger } from '#libs/platform/telemetry';
import {
  DEFAULT_DIRECTORY,
  enrol,
  EXAMPLE_CONFIGURATION,
  postgresWorkloads,
  readConfiguration,
  StateDirectory,
} from '#libs/sites/agent';
import { renderStatus } from './agent-status.js';
import { addArchiveCommands } from './archive-cli.js';
import { checkWorkloads, renderCheck } from './check.js';
import { readToken, type TokenSources } from './enrolment-token.js';
import { EXIT } from './exit-codes.js';
import { knock } from './local-door.js';
import { runAgent } from './run.js';
import { askTunnel } from './tunnel-keeper.js';
import { Tunnel } from './tunnel.js';
import { packageVersion } from './version.js';
import { workloadFiles } from './workload-files.js';

interface Common {
  readonly config: string;
}

const version = packageVersion();
const program = new Command('mainstay-agent')
  .description('Connects this machine to Mainstay: replicates and archives what agent.json lists to your warm sites.')
  .version(version)
  .showHelpAfterError()
  .exitOverride();

const command = (name: string, description: string) =>
  program
    .command(name)
    .description(description)
    .option('--config <directory>', 'where the agent keeps agent.json, its key and its state', DEFAULT_DIRECTORY);

command('enroll', 'enrol this machine with a one-time token')
  .option('--token-file <file>', 'a file with the token that Mainstay showed, or - for standard input (default: ask)')
  .option('--token <token>', 'the token itself: others on this machine can see it, and the shell keeps it')
  .requiredOption('--control-url <url>', "the address of Mainstay's API", address)
  .action(async ({ config, controlUrl, ...sources }: Common & TokenSources & { controlUrl: string }) => {
    const directory = new StateDirectory(config);
    const token = await readToken(sources, { input: process.stdin, say: (text) => process.stderr.write(text) });
    const { agencyName, agentId, sites } = await enrol({ directory, token, controlUrl, version });
    say(
      `Enrolled for ${agencyName} as agent ${agentId}; warm sites: ${sites.map(({ name }) => name).join(', ') || 'none yet'}.`,
    );
    const { workloads } = await readConfiguration(directory);
    if (workloads.length > 0) say('Next: mainstay-agent check, then mainstay-agent run.');
    else
      say(`Next: list what Mainstay may reach in ${directory.configuration}, for example:\n${EXAMPLE_CONFIGURATION}`);
  });

command('run', 'run the agent (what the service starts)').action(async ({ config }: Common) => {
  const log = createLogger({ name: 'mainstay-agent' });
  await runAgent({ directory: new StateDirectory(config), version, log }, stopSignal());
});

program
  .command('tunnel', { hidden: true })
  .requiredOption('--config <directory>')
  .action(async ({ config }: Common) => {
    const log = createLogger({ name: 'mainstay-agent tunnel' });
    await Tunnel.run({ directory: new StateDirectory(config), version, clock: new SystemClock(), log }, stopSignal());
  });

command('status', 'say how the links and the protected workloads are')
  .option('--json', 'as JSON', false)
  .action(async ({ config, json }: Common & { json: boolean }) => {
    const directory = new StateDirectory(config);
    const status = await askTunnel(directory).catch((error: unknown) => {
      throw new NotRunning(directory.path, error);
    });
    say(json ? JSON.stringify(status, null, 2) : renderStatus(status));
    const wrong = status.workloads.some(({ alarms, fenced }) => alarms.length > 0 || fenced !== null);
    process.exitCode = wrong ? EXIT.findings : EXIT.ok;
  });

command(
  'check',
  'find out whether the workloads of agent.json can be protected or archived, and what stands in the way',
)
  .argument('[workload]', 'only this one')
  .option('--json', 'as JSON', false)
  .action(async (workload: string | undefined, { config, json }: Common & { json: boolean }) => {
    const checked = await checkWorkloads(new StateDirectory(config), workload);
    if (checked.length === 0) throw new NothingListed(workload);
    say(json ? JSON.stringify(checked, null, 2) : checked.map(renderCheck).join('\n\n'));
    process.exitCode = checked.every(({ report }) => report.ok) ? EXIT.ok : EXIT.findings;
  });

command(
  'gate',
  'keep PostgreSQL from starting until a warm site has confirmed that this server is the newest (for ExecStartPre)',
)
  .argument('<workload>', 'its name in agent.json')
  .option('--timeout <seconds>', 'start without a confirmation after so long', seconds, 60)
  .action(async (name: string, { config, timeout }: Common & { timeout: number }) => {
    const directory = new StateDirectory(config);
    const workload = postgresWorkloads(await readConfiguration(directory)).find((each) => each.name === name);
    if (!workload) throw new NothingListed(name);
    const files = workloadFiles(directory, name);
    const verdict = await passGate({
      protection: await files.protection.read(),
      fencing: await files.fencing.read(),
      dataDirectory: workload.dataDirectory,
      timeoutMs: timeout * 1_000,
      ask: async () => gateAnswer.parse(await (await knock(directory.tunnelSocket, `/gate?workload=${name}`)).json()),
    });
    if (verdict.open && verdict.alarm) await files.unconfirmedStart.write({ at: new Date().toISOString() });
    (verdict.open && !verdict.alarm ? say : complain)(verdict.why);
    process.exitCode = verdict.open ? EXIT.ok : EXIT.fenced;
  });

addArchiveCommands(program, say, complain);

class NotRunning extends DomainError {
  constructor(directory: string, cause: unknown) {
    super(
      'unavailable',
      'agent.not-running',
      `The agent of ${directory} is not running. Start it: mainstay-agent run --config ${directory}`,
      { cause },
    );
  }
}

class NothingListed extends DomainError {
  constructor(name: string | undefined) {
    const what = name === undefined ? 'any workload' : `a workload "${name}"`;
    super(
      'not-found',
      'workload.not-listed',
      `agent.json does not list ${what}. Add it, for example:\n${EXAMPLE_CONFIGURATION}`,
    );
  }
}

function address(text: string): string {
  const found = URL.canParse(text) ? new URL(text) : undefined;
  if (found?.protocol === 'https:' || found?.protocol === 'http:') return found.toString();
  throw new InvalidArgumentError('It must be an address such as https://api.example.gov.');
}

function seconds(text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value >= 0 && value <= 86_400) return value;
  throw new InvalidArgumentError('It must be a number of seconds.');
}

function stopSignal(): AbortSignal {
  const stopping = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stopping.abort());
  return stopping.signal;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function complain(text: string): void {
  process.stderr.write(`${text}\n`);
}

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode;
  else {
    complain(error instanceof DomainError ? error.message : `mainstay-agent failed: ${errorText(error)}`);
    process.exitCode = EXIT.failed;
  }
}
