import type { StandbyHealth } from '#contracts/replication';
import { Clock } from '#libs/platform/clock';
import { provideCollector } from '#libs/platform/nest';
import { defineGauge, type Sample } from '#libs/platform/telemetry';
import { followsSource } from '../standby.states.js';
import { StandbyHealths } from './health.service.js';

export const armed = defineGauge(
  'mainstay_armed',
  '1 while this synchronous site knows that production acknowledges nothing that it lacks; 0 when not so, or not known.',
  ['workload_id'],
);
export const armedLease = defineGauge(
  'mainstay_armed_lease_seconds',
  'What is left of the armed lease, which is renewed each second; 0 when there is none.',
  ['workload_id'],
);
export const bytesBehind = defineGauge(
  'mainstay_standby_bytes_behind',
  'Bytes of log that the source has told of and this standby lacks; absent while the source is silent.',
  ['workload_id', 'role'],
);
export const secondsBehind = defineGauge(
  'mainstay_standby_seconds_behind',
  'How long ago the source was where this standby is now; absent while that is not known.',
  ['workload_id', 'role'],
);
export const sourceSilent = defineGauge(
  'mainstay_standby_source_silent_seconds',
  'Since the agent last told this site of the workload; absent when it never did.',
  ['workload_id', 'role'],
);
export const standbyState = defineGauge('mainstay_standby_state', '1 for the state that a standby is in.', [
  'workload_id',
  'role',
  'state',
]);
export const standbyAlarm = defineGauge('mainstay_standby_alarm', '1 for each alarm of a standby, by its code.', [
  'workload_id',
  'role',
  'code',
]);

/** Each standby's measured health, as the control plane is told it. */
export const standbyCollector = provideCollector({
  name: 'standbys',
  metrics: [armed, armedLease, bytesBehind, secondsBehind, sourceSilent, standbyState, standbyAlarm],
  from: [StandbyHealths, Clock],
  collect: async (healths, clock) => {
    const now = clock.now().getTime();
    return (await healths.all()).flatMap((health) => samplesOf(health, now));
  },
});

function samplesOf(health: StandbyHealth, now: number): Sample[] {
  const { role, state } = health;
  const workload = { workload_id: health.workloadId };
  const labels = { ...workload, role };
  const leads = role === (health.synchronousSite ?? 'metro') && followsSource(state);
  const left = health.armed === true && health.armedUntil !== null ? (Date.parse(health.armedUntil) - now) / 1_000 : 0;
  const known = (metric: Sample['metric'], value: number | null): Sample[] =>
    value === null ? [] : [{ metric, labels, value }];
  const silent = health.sourceSeenAt === null ? null : Math.max(0, (now - Date.parse(health.sourceSeenAt)) / 1_000);
  return [
    ...(leads
      ? [
          { metric: armed, labels: workload, value: health.armed === true ? 1 : 0 },
          { metric: armedLease, labels: workload, value: Math.max(0, left) },
        ]
      : []),
    ...known(bytesBehind, health.bytesBehind),
    ...known(secondsBehind, health.secondsBehind),
    ...known(sourceSilent, silent),
    { metric: standbyState, labels: { ...labels, state }, value: 1 },
    ...[...new Set(health.alarms.map(({ code }) => code))].map((code) => ({
      metric: standbyAlarm,
      labels: { ...labels, code },
      value: 1,
    })),
  ];
}
