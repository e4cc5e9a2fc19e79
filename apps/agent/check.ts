import type { Finding, PreflightReport } from '#contracts/replication';
import { checkArchive } from '#libs/archive/agent';
import { openConnection, runPreflight } from '#libs/replication/agent';
import { readConfiguration, type PostgresWorkload, type StateDirectory } from '#libs/sites/agent';
import { workloadFiles } from './workload-files.js';

export interface CheckedWorkload {
  readonly name: string;
  /** What it was checked for: replication and with it the archive of a server, or the archive alone. */
  readonly as: 'protected' | 'archived';
  readonly report: PreflightReport;
}

/**
 * Runs the preflight of the named workload, or of all that agent.json lists, and looks whether what is to be archived can
 * be; needs neither enrolment nor a site.
 */
export async function checkWorkloads(directory: StateDirectory, only: string | undefined): Promise<CheckedWorkload[]> {
  const { workloads, restic } = await readConfiguration(directory);
  const wanted = only === undefined ? workloads : workloads.filter(({ name }) => name === only);
  const checked: CheckedWorkload[] = [];
  for (const workload of wanted) {
    const { name, kind } = workload;
    const server = kind === 'postgresql' ? await check(directory, workload) : undefined;
    // A server that is only replicated needs no restic.
    const asked = kind !== 'postgresql' || workload.archive !== undefined;
    const question = { workload, source: kind, keyMode: 'escrowed', restic, state: directory } as const;
    const archive = asked ? (await checkArchive(question)).findings : [];
    const findings = [...(server?.findings ?? []), ...archive];
    const ok = (server?.ok ?? true) && archive.every(({ severity }) => severity !== 'blocker');
    const report = { ok, findings, server: server?.server ?? null };
    checked.push({ name, as: kind === 'postgresql' ? 'protected' : 'archived', report });
  }
  return checked;
}

async function check(directory: StateDirectory, workload: PostgresWorkload): Promise<PreflightReport> {
  const protection = await workloadFiles(directory, workload.name).protection.read();
  const client = openConnection(workload, { statementTimeoutMs: 60_000 });
  try {
    return await runPreflight(workload, { supportedMajors: [], names: protection?.names ?? null }, () => client);
  } finally {
    // That it could not be opened is a finding of the report; a broken one needs no goodbye.
    await client.then((each) => each.end()).catch(() => undefined);
  }
}

const TITLE: Readonly<Record<Finding['severity'], string>> = {
  blocker: 'BLOCKER',
  warning: 'warning',
  information: 'note',
};
const ORDER: readonly Finding['severity'][] = ['blocker', 'warning', 'information'];

/** Blockers first. */
export function renderCheck({ name, as, report }: CheckedWorkload): string {
  const server = report.server
    ? `PostgreSQL ${report.server.version}, ${(report.server.sizeBytes / 1e9).toFixed(1)} GB`
    : '';
  const verdict = report.ok ? `can be ${as}` : `cannot be ${as} yet`;
  const lines = [`${name}: ${verdict}${server ? ` (${server})` : ''}`];
  for (const severity of ORDER) {
    for (const finding of report.findings.filter((each) => each.severity === severity)) {
      lines.push(`  ${TITLE[severity].padEnd(8)} ${finding.what}`, `           ${finding.remedy}`);
    }
  }
  return lines.join('\n');
}
