import { access, constants, lstat } from 'node:fs/promises';
import type { archiveCheckCommand, KeyMode } from '#contracts/archive';
import { errorText } from '#libs/platform/errors';
import type {
  AgentWorkload,
  CommandWorkload,
  FilesWorkload,
  PostgresWorkload,
  StateDirectory,
} from '#libs/sites/agent';
import type { z } from 'zod';
import { CustomerKey } from './customer-key.js';
import { findRestic, INSTALL_RESTIC, type ResticProgram, WHOLE_MINOR } from './restic/program.js';
import { commandPart } from './sources/command-source.js';
import { linksAmong } from './work/backup-files.js';
import { databasesOf, dumpTools, onServer } from './sources/postgres-dumps.js';

export type ArchiveCheck = z.infer<typeof archiveCheckCommand.output>;
export type ArchiveFinding = ArchiveCheck['findings'][number];

export interface ArchiveCheckQuestion {
  readonly workload: AgentWorkload;
  /** As Mainstay has it. */
  readonly source: AgentWorkload['kind'];
  readonly keyMode: KeyMode;
  /** agent.json's `restic`. */
  readonly restic: string | undefined;
  readonly state: StateDirectory;
}

const finding = (severity: ArchiveFinding['severity'], code: string, what: string, remedy: string): ArchiveFinding => ({
  code: `archive.${code}`,
  severity,
  what,
  remedy,
});

/** Whether a workload can be archived, and what stands in the way; changes nothing. */
export async function checkArchive({
  workload,
  source,
  keyMode,
  restic,
  state,
}: ArchiveCheckQuestion): Promise<ArchiveCheck> {
  const findings: ArchiveFinding[] = [];
  let program: ResticProgram | undefined;
  try {
    program = await findRestic(restic);
    if (program.minor < WHOLE_MINOR) findings.push(oldRestic(program));
  } catch (error) {
    findings.push(finding('blocker', 'no-restic', errorText(error), INSTALL_RESTIC));
  }
  if (workload.kind !== source) {
    const what = `agent.json lists "${workload.name}" as ${workload.kind}, and Mainstay archives it as ${source}.`;
    findings.push(
      finding('blocker', 'other-source', what, 'Correct "kind" in agent.json, or the workload in Mainstay.'),
    );
  } else findings.push(...(await checkSource(workload)));
  const hasPassword = (await new CustomerKey(state, workload.name).read()) !== undefined;
  if (keyMode === 'customer-held' && hasPassword) {
    findings.push(
      finding(
        'information',
        'customer-held',
        'Only this machine holds the password of the archive: without it, nobody can read what is in it, Mainstay included.',
        `Keep a copy in a safe: mainstay-agent archive password ${workload.name}`,
      ),
    );
  }
  return { resticVersion: program?.version ?? null, hasPassword, findings };
}

function checkSource(workload: AgentWorkload): Promise<ArchiveFinding[]> {
  switch (workload.kind) {
    case 'files':
      return checkFiles(workload);
    case 'command':
      return checkCommand(workload);
    case 'postgresql':
      return checkServer(workload);
  }
}

async function checkFiles({ paths }: FilesWorkload): Promise<ArchiveFinding[]> {
  const findings: ArchiveFinding[] = [];
  const unreadable: string[] = [];
  for (const each of paths) {
    const readable = lstat(each).then(() => access(each, constants.R_OK));
    await readable.catch((error: unknown) => unreadable.push(`${each} (${errorText(error)})`));
  }
  if (unreadable.length > 0) {
    const none = unreadable.length === paths.length;
    const what = `The agent cannot read ${unreadable.slice(0, 5).join(', ')}${unreadable.length > 5 ? ' and others' : ''}.`;
    const remedy = 'Correct "paths" in agent.json, or let the agent read them.';
    findings.push(finding(none ? 'blocker' : 'warning', 'files-unreadable', what, remedy));
  }
  for (const link of await linksAmong(paths)) {
    const what = `${link} is a link: only the link would be archived, not what it leads to.`;
    findings.push(finding('warning', 'files-link', what, 'Name in agent.json what it leads to.'));
  }
  if (process.getuid?.() !== 0) {
    const what = 'The agent does not run as root: what its user may not read is left out, and each run says so.';
    const remedy = 'Run the agent as root, or give its user the right to read all of it.';
    findings.push(finding('information', 'not-root', what, remedy));
  }
  return findings;
}

async function checkCommand(workload: CommandWorkload): Promise<ArchiveFinding[]> {
  const [program = ''] = workload.command;
  const findings: ArchiveFinding[] = [];
  await access(program, constants.X_OK).catch(() => {
    const what = `There is no program ${program} that the agent may run.`;
    findings.push(finding('blocker', 'no-program', what, 'Correct "command" in agent.json.'));
  });
  await commandPart(workload).catch((error: unknown) => {
    findings.push(
      finding('blocker', 'no-user', errorText(error), 'Correct "user" in agent.json, or run the agent as root.'),
    );
  });
  return findings;
}

async function checkServer(workload: PostgresWorkload): Promise<ArchiveFinding[]> {
  const findings: ArchiveFinding[] = [];
  try {
    await onServer(workload, async (client) => {
      const present = await databasesOf(client);
      const missing = (workload.archive?.databases ?? []).filter((name) => !present.includes(name));
      if (missing.length > 0) {
        const what = `The server has no database ${missing.join(', ')}.`;
        findings.push(finding('warning', 'no-database', what, 'Correct "archive" in agent.json.'));
      }
      await dumpTools(workload, client).catch((error: unknown) => {
        const remedy = 'Install the programs of the same major version as the server.';
        findings.push(finding('blocker', 'no-pg-dump', errorText(error), remedy));
      });
    });
  } catch (error) {
    findings.push(
      finding('blocker', 'server-unreachable', errorText(error), 'Start the server, or correct agent.json.'),
    );
  }
  return findings;
}

function oldRestic({ version }: ResticProgram): ArchiveFinding {
  return finding(
    'warning',
    'restic-old',
    `restic ${version} is old: it archives, and restores to where nothing is; it cannot restore over files that are there, nor show the progress of a restore.`,
    INSTALL_RESTIC,
  );
}
