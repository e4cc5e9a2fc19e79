import type { Alarm, StandbyHealth, StandbyState } from '#contracts/replication';
import type { SiteRole } from '#contracts/sites';
import type { ProtectionState } from '../protection.states.js';

/** Older than this a measurement says nothing of now. */
export const SILENT_SECONDS = 10;

/** A measurement as it was kept, with its age by the database's clock. */
export interface KeptHealth {
  readonly siteId: string;
  /** Seconds since the control plane received it. */
  readonly ageSeconds: number;
  /** By the site's clock, ISO 8601. */
  readonly measuredAt: string;
  readonly health: StandbyHealth;
}

/** One site's part of a protection. What is not known now is null and the state `unknown`: never 0, never green. */
export interface LegView {
  readonly siteId: string;
  readonly siteName: string;
  readonly role: SiteRole;
  readonly state: StandbyState | 'unknown';
  readonly unknownBecause: string | null;
  readonly measuredSecondsAgo: number | null;
  readonly sourceSeenSecondsAgo: number | null;
  readonly bytesBehind: number | null;
  readonly secondsBehind: number | null;
  /** Of the synchronous site; null at the other. */
  readonly armed: boolean | null;
  readonly armedSince: string | null;
  readonly asynchronousSinceLsn: string | null;
  readonly sourceLsn: string | null;
  readonly receivedLsn: string | null;
  readonly replayedLsn: string | null;
  readonly timeline: number | null;
  readonly epoch: number | null;
  readonly seeding: StandbyHealth['seeding'];
  readonly alarms: readonly Alarm[];
  readonly frontDoor: DoorView | null;
}

/** A workload's address at one site. */
export interface DoorView {
  readonly host: string;
  readonly port: number;
  readonly leadsTo: 'production' | 'standby' | 'closed';
  /** PEM: what signs for the standby behind it to clients that use TLS; null until the site has made it. */
  readonly authority: string | null;
}

/** States in which what the site says depends on hearing the agency. */
const NEEDS_SOURCE: ReadonlySet<StandbyState> = new Set(['preparing', 'seeding', 'catching-up', 'streaming']);

const UNMEASURED = {
  bytesBehind: null,
  secondsBehind: null,
  armed: null,
  armedSince: null,
} as const;

/** Judges one leg by its newest measurement. `expectSilence`: a planned reboot or a pause explains a silent agency. */
export function judgeLeg(
  site: { readonly id: string; readonly name: string; readonly role: SiteRole },
  kept: KeptHealth | undefined,
  expectSilence: boolean,
): LegView {
  const head = { siteId: site.id, siteName: site.name, role: site.role };
  if (!kept) return { ...head, ...NEVER_MEASURED };
  const { health } = kept;
  const sourceAge = sourceAgeOf(kept);
  const base = {
    ...head,
    measuredSecondsAgo: round(kept.ageSeconds),
    sourceSeenSecondsAgo: sourceAge === null ? null : round(sourceAge),
    asynchronousSinceLsn: health.asynchronousSinceLsn,
    sourceLsn: health.sourceLsn,
    receivedLsn: health.receivedLsn,
    replayedLsn: health.replayedLsn,
    timeline: health.timeline,
    epoch: health.epoch,
    seeding: health.seeding,
    alarms: health.alarms,
    frontDoor: health.frontDoor && { ...health.frontDoor, authority: health.frontDoor.authority ?? null },
  };
  const unknown = (why: string): LegView => ({ ...base, ...UNMEASURED, state: 'unknown', unknownBecause: why });
  if (kept.ageSeconds > SILENT_SECONDS) return unknown('The site has been silent for more than 10 seconds.');
  if (NEEDS_SOURCE.has(health.state) && !expectSilence && (sourceAge === null || sourceAge > SILENT_SECONDS)) {
    return unknown(
      sourceAge === null
        ? 'The site has not heard the agency about this workload yet.'
        : 'The site has not heard the agency for more than 10 seconds.',
    );
  }
  const { state, bytesBehind, secondsBehind, armed, armedSince } = health;
  return { ...base, state, unknownBecause: null, bytesBehind, secondsBehind, armed, armedSince };
}

const NEVER_MEASURED = {
  ...UNMEASURED,
  state: 'unknown',
  unknownBecause: 'The site has not reported this workload yet.',
  measuredSecondsAgo: null,
  sourceSeenSecondsAgo: null,
  asynchronousSinceLsn: null,
  sourceLsn: null,
  receivedLsn: null,
  replayedLsn: null,
  timeline: null,
  epoch: null,
  seeding: null,
  alarms: [],
  frontDoor: null,
} as const;

const round = (seconds: number): number => Math.round(seconds * 10) / 10;

/** How a protection does, in one word: the worst that matters. */
export const CONDITIONS = [
  'checking',
  'blocked',
  'preparing',
  'seeding',
  'catching-up',
  'armed',
  'protected',
  'degraded',
  'paused',
  'rebooting',
  'broken',
  'unknown',
  'failing-over',
  'failed-over',
  'removing',
] as const;
export type Condition = (typeof CONDITIONS)[number];

/**
 * `armed`: a write is acknowledged only once the synchronous site has it. `protected`: both legs stream, but none is
 * synchronous. `degraded`: there is a metro, it streams, and production waits for neither site.
 */
export function conditionOf(
  protection: { readonly state: ProtectionState; readonly paused: boolean; readonly rebooting: boolean },
  legs: readonly LegView[],
): Condition {
  const { state } = protection;
  if (state === 'removed') return 'removing';
  if (state !== 'protecting') return state;
  if (protection.paused) return 'paused';
  if (protection.rebooting) return 'rebooting';
  const has = (wanted: LegView['state']): boolean => legs.some((leg) => leg.state === wanted);
  if (has('broken')) return 'broken';
  if (has('unknown')) return 'unknown';
  for (const early of ['preparing', 'seeding', 'catching-up'] as const) if (has(early)) return early;
  if (legs.some((leg) => leg.armed === true)) return 'armed';
  return legs.some((leg) => leg.role === 'metro') ? 'degraded' : 'protected';
}

/** How old what a site last heard of the agency is, in seconds; null when it never did. Both times are the site's own. */
function sourceAgeOf({ health, measuredAt, ageSeconds }: KeptHealth): number | null {
  const seen = health.sourceSeenAt;
  return seen === null ? null : Math.max(0, (Date.parse(measuredAt) - Date.parse(seen)) / 1_000) + ageSeconds;
}

/** What the sites were told of the synchronous site within so many seconds, the newest word first. */
function toldOf(kept: readonly KeptHealth[], withinSeconds: number): (SiteRole | null)[] {
  return kept
    .map((one) => ({ site: one.health.synchronousSite, age: sourceAgeOf(one) ?? Infinity }))
    .filter(({ site, age }) => site !== undefined && age <= withinSeconds)
    .sort((one, other) => one.age - other.age)
    .map(({ site }) => site ?? null);
}

/** The synchronous site, by whichever site heard the agency last; null when neither was told of one. */
export function synchronousSiteOf(kept: readonly KeptHealth[], withinSeconds = Infinity): SiteRole | null {
  return toldOf(kept, withinSeconds).find((site) => site !== null) ?? null;
}

/** Whether production may be waiting for the regional site: it was just told so, or nothing is known now. */
export function regionalMayLead(kept: readonly KeptHealth[]): boolean {
  const [newest] = toldOf(kept, SILENT_SECONDS);
  return newest === undefined || newest === 'regional';
}
