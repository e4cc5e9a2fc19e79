import type { Alarm, Finding, PreflightReport, ReplicationNames } from '#contracts/replication';
import type { PostgresClient } from '#libs/platform/postgres';
import { errorText } from '#libs/platform/errors';
import type { PostgresWorkload } from '#libs/sites/agent';
import { readServerFacts } from '../server-facts.js';
import { checkAccess, tryReceiver } from './access-checks.js';
import { checkDisk, checkMachine, describeData } from './data-checks.js';
import { checkFrontDoor } from './door-checks.js';
import { blocker } from './finding.js';
import { checkFollowing } from './following-checks.js';
import { checkKind, checkRights } from './server-checks.js';
import { lookAtServer, type ServerLook } from './server-look.js';
import { withBuild } from './site-facts.js';
import { checkOverrides, checkRises, checkSettings } from './settings-checks.js';

export interface PreflightQuestion {
  /** What the sites can run; none: any. */
  readonly supportedMajors: readonly number[];
  /** Of a workload that is protected already: these names are no strangers. */
  readonly names: ReplicationNames | null;
}

/**
 * Finds out whether a server can be replicated, and what would be worse than it need be. Never rejects for what it finds:
 * a server that does not answer is a finding too.
 */
export async function runPreflight(
  workload: PostgresWorkload,
  question: PreflightQuestion,
  open: () => Promise<PostgresClient>,
): Promise<PreflightReport> {
  let client: PostgresClient;
  try {
    client = await open();
  } catch (error) {
    return report([unreachable(workload, error)], null);
  }
  const look = await lookAtServer(client);
  const first = [...checkKind(look, question.supportedMajors), ...checkRights(look, workload)];
  // What follows asks what only a superuser may ask.
  if (!look.superuser) return report(first, null);
  const slots = new Set(question.names ? [question.names.metroSlot, question.names.regionalSlot] : []);
  const findings = [
    ...first,
    ...checkSettings(look, question.names),
    ...checkRises(look),
    ...checkAccess(look, workload, question.names),
    ...checkFollowing(look),
    ...checkFrontDoor(look, workload),
    ...(await checkDisk(workload)),
    ...(await checkMachine(look, workload)),
    ...(await describeData(look, workload, client, slots)),
  ];
  // Where nobody can stream at all, the reason stands there already.
  const nobody = findings.some(({ code }) => code === 'wal-level.minimal' || code === 'wal-senders.exhausted');
  if (!nobody) findings.push(...(await tryReceiver(workload)));
  return report(findings, withBuild(await readServerFacts(workload, client), look));
}

/** Tablespaces that were there when the protection was made; the sites have made directories for them. */
export interface Baseline {
  readonly tablespaces: readonly string[];
}

/** The part that goes on running: cheap, and only what can change under a protection. As alarms of the pulse. */
export async function surveil(
  workload: PostgresWorkload,
  client: PostgresClient,
  names: ReplicationNames | null,
  baseline: Baseline,
): Promise<Alarm[]> {
  const look = await lookAtServer(client);
  if (!look.superuser) return checkRights(look, workload).map(asAlarm);
  const findings = [
    ...checkOverrides(look),
    ...checkRises(look),
    ...checkSettings(look, names).filter(({ severity }) => severity === 'blocker'),
    ...checkAccess(look, workload, names),
    ...(await checkDisk(workload)),
    ...checkTablespaces(look, baseline),
  ];
  return findings.map(asAlarm);
}

function checkTablespaces(look: ServerLook, baseline: Baseline): Finding[] {
  return look.tablespaces
    .filter(({ location }) => !baseline.tablespaces.includes(location))
    .map(({ name, location }) =>
      blocker(
        'data.tablespace-new',
        `The tablespace ${name} was made at ${location}: a standby stops where that directory is missing.`,
        'Nothing to do if the sites go on: they make it. Otherwise run the preflight of the workload.',
      ),
    );
}

function asAlarm({ code, what, remedy }: Finding): Alarm {
  return { code, what, remedy };
}

function report(findings: Finding[], server: PreflightReport['server']): PreflightReport {
  return { ok: !findings.some(({ severity }) => severity === 'blocker'), findings, server };
}

function unreachable(workload: PostgresWorkload, error: unknown): Finding {
  const where = workload.socketDirectory ?? `${workload.host}:${workload.port}`;
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  return blocker(
    'server.unreachable',
    `The agent cannot sign in at ${where} as "${workload.user}": ${errorText(cause)}.`,
    'See that the server runs, and that host, port, user and passwordFile in agent.json are right.',
  );
}
