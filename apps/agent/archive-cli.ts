import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { type ArchiveStatus, archiveStatus, CustomerKey, findRestic, readExit } from '#libs/archive/agent';
import { DomainError, errorText } from '#libs/platform/errors';
import { DEFAULT_DIRECTORY, readConfiguration, StateDirectory } from '#libs/sites/agent';
import { knock } from './local-door.js';
import { ARCHIVE_STATUS } from './run.js';

interface Common {
  readonly config: string;
}

/** What the person at the machine must do first; the message says it. */
class ArchiveCommandError extends DomainError {
  constructor(code: string, message: string) {
    super('precondition', `archive.${code}`, message);
  }
}

/** `mainstay-agent archive …` @param say writes to standard output, `warn` to standard error */
export function addArchiveCommands(program: Command, say: (text: string) => void, warn: (text: string) => void): void {
  const archive = program.command('archive').description('the archive of this machine’s files and dumps');
  const command = (name: string, description: string) =>
    archive
      .command(name)
      .description(description)
      .option('--config <directory>', 'where the agent keeps agent.json, its key and its state', DEFAULT_DIRECTORY);

  command('status', 'say what is archived or restored now, and what came of the last runs')
    .option('--json', 'as JSON', false)
    .action(async ({ config, json }: Common & { json: boolean }) => {
      const directory = new StateDirectory(config);
      const configuration = await readConfiguration(directory);
      const restic = await findRestic(configuration.restic).then(
        ({ file, version }) => `restic ${version} (${file})`,
        errorText,
      );
      const answer = await knock(directory.commandSocket, ARCHIVE_STATUS).catch(() => {
        throw new ArchiveCommandError(
          'not-running',
          `The agent of ${config} is not running. Start it: mainstay-agent run`,
        );
      });
      const status = archiveStatus.parse(await answer.json());
      say(json ? JSON.stringify({ restic, ...status }, null, 2) : [restic, ...render(status)].join('\n'));
    });

  command('password', 'show the password of an archive that only the agency can open')
    .argument('<workload>', 'its name in agent.json')
    .option('--put <file>', 'keep the password in this file instead: on a new machine, from your safe')
    .action(async (name: string, { config, put }: Common & { put?: string }) => {
      const key = new CustomerKey(await listed(config, name), name);
      if (put !== undefined) {
        const password = (await readFile(put, 'utf8')).trim();
        if (password === '') throw new ArchiveCommandError('password-empty', `${put} is empty.`);
        if ((await key.keep(password)).password !== password) {
          throw new ArchiveCommandError(
            'password-held',
            `The agent holds another password of "${name}" already. If you are sure that nothing needs it, move ${key.file} away, and give the command again.`,
          );
        }
        say(`The agent holds the password of "${name}" now.`);
        return;
      }
      const held = await key.read();
      if (!held) {
        throw new ArchiveCommandError(
          'no-password',
          `The agent holds no password of "${name}": it is made when an archive whose key only you hold begins its first run.`,
        );
      }
      warn(
        `Write this down and keep it in a safe, away from this machine. Without it nobody can read the archive of "${name}", Mainstay included; whoever has it and the vault's files can read all of it.`,
      );
      say(held.password);
    });

  command('exit', 'say by which command stock restic takes the whole archive out')
    .argument('<workload>', 'its name in agent.json')
    .action(async (name: string, { config }: Common) => {
      const exit = await readExit(await listed(config, name), name);
      if (!exit) {
        throw new ArchiveCommandError(
          'no-exit',
          `No credential to read the archive of "${name}" has come to this machine. Ask for the exit in Mainstay first; it arrives within a minute.`,
        );
      }
      const over = Date.parse(exit.until) < Date.now();
      warn(
        over
          ? `The credential was good until ${exit.until}. Ask for the exit in Mainstay anew.`
          : `Good until ${exit.until}. This copies every recovery point into /srv/our-archive (another folder will do), which the same password opens:`,
      );
      say(exit.command);
    });
}

async function listed(config: string, name: string): Promise<StateDirectory> {
  const directory = new StateDirectory(config);
  const { workloads } = await readConfiguration(directory);
  if (workloads.some((each) => each.name === name)) return directory;
  throw new ArchiveCommandError('not-listed', `agent.json does not list a workload "${name}".`);
}

function render({ running, last }: ArchiveStatus): string[] {
  const lines = running.map(({ workload, kind, progress }) => {
    const done = progress ? `, ${progress.filesDone} files, ${(progress.bytesDone / 1e6).toFixed(1)} MB so far` : '';
    return `${workload}: ${kind} is under way${done}`;
  });
  for (const { workload, kind, state, endedAt, faultCount, failure } of last) {
    const faults = faultCount === 0 ? '' : `, ${faultCount} faults`;
    lines.push(`${workload}: ${kind} ${state} at ${endedAt}${faults}${failure ? `: ${failure.message}` : ''}`);
  }
  return lines.length === 0 ? ['nothing has been archived since the agent was started'] : lines;
}
