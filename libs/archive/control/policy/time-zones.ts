// Where most of a state's people live: what "at 22:00" means unless an agency says otherwise. From the zones of the tz
// database for the United States and its territories.
const ZONES: Readonly<Record<string, string>> = {
  'America/New_York': 'CT DC DE FL GA MA MD ME NC NH NJ NY OH PA RI SC VA VT WV',
  'America/Detroit': 'MI',
  'America/Indiana/Indianapolis': 'IN',
  'America/Kentucky/Louisville': 'KY',
  'America/Chicago': 'AL AR IA IL KS LA MN MO MS ND NE OK SD TN TX WI',
  'America/Denver': 'CO MT NM UT WY',
  'America/Boise': 'ID',
  'America/Phoenix': 'AZ',
  'America/Los_Angeles': 'CA NV OR WA',
  'America/Anchorage': 'AK',
  'Pacific/Honolulu': 'HI',
  'America/Puerto_Rico': 'PR VI',
  'Pacific/Guam': 'GU MP',
  'Pacific/Pago_Pago': 'AS',
};

/** The time zone that an agency of this state (two letters) most probably lives by; UTC where it is not known. */
export function timeZoneOfState(state: string | undefined): string {
  const found = Object.entries(ZONES).find(([, states]) => states.split(' ').includes(state ?? '-'));
  return found?.[0] ?? 'UTC';
}
