import type { Schedule } from '#contracts/archive';

const PERIOD_SECONDS: Readonly<Record<Schedule['every'], number>> = {
  'fifteen-minutes': 900,
  hour: 3_600,
  day: 86_400,
  week: 604_800,
};

/** Between two runs that are due. */
export const periodSeconds = (schedule: Schedule): number => PERIOD_SECONDS[schedule.every];

const capital = (word: string): string => word.charAt(0).toUpperCase() + word.slice(1);

export function scheduleInWords(schedule: Schedule, timeZone: string): string {
  switch (schedule.every) {
    case 'fifteen-minutes':
      return 'every fifteen minutes';
    case 'hour':
      return 'every hour';
    case 'day':
      return `every day at ${schedule.at} (${timeZone})`;
    case 'week':
      return `every ${capital(schedule.on)} at ${schedule.at} (${timeZone})`;
  }
}
