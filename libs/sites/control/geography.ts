/** A place on the earth, in degrees. */
export interface Location {
  readonly latitude: number;
  readonly longitude: number;
}

const EARTH_RADIUS_MILES = 3_958.8;

/** Synchronous replication waits for light and routers: the limits of a metro site (design.md, decision 5). */
export const METRO_LIMITS = { miles: 20, roundTripMilliseconds: 2 } as const;

/** The great-circle distance in statute miles (haversine). */
export function distanceMiles(a: Location, b: Location): number {
  const radians = (degrees: number): number => (degrees * Math.PI) / 180;
  const half =
    Math.sin(radians(b.latitude - a.latitude) / 2) ** 2 +
    Math.cos(radians(a.latitude)) *
      Math.cos(radians(b.latitude)) *
      Math.sin(radians(b.longitude - a.longitude) / 2) ** 2;
  return 2 * EARTH_RADIUS_MILES * Math.asin(Math.min(1, Math.sqrt(half)));
}

export interface Eligibility {
  /** Whether the site may serve as the synchronous one; every site may serve as the regional one. */
  readonly metro: boolean;
  /** Why or why not, for a person. */
  readonly reasons: readonly string[];
}

/** Whether a site is near enough to be synchronous, by what is known of the distance and the measured round trip. */
export function judge(miles: number | null, roundTripMilliseconds: number | null): Eligibility {
  const reasons: string[] = [];
  const near = miles !== null && miles <= METRO_LIMITS.miles;
  const fast = roundTripMilliseconds !== null && roundTripMilliseconds <= METRO_LIMITS.roundTripMilliseconds;
  if (miles === null) reasons.push('The distance is unknown: the workload and its agent have no location.');
  else reasons.push(`${miles.toFixed(1)} miles away; a metro site is at most ${METRO_LIMITS.miles} miles away.`);
  if (roundTripMilliseconds === null) reasons.push('No round trip has been measured yet.');
  else {
    reasons.push(
      `A round trip of ${roundTripMilliseconds.toFixed(1)} ms was measured; ` +
        `up to ${METRO_LIMITS.roundTripMilliseconds} ms is near enough whatever the distance.`,
    );
  }
  return { metro: near || fast, reasons };
}

/** Hazards that would strike both places at once, such as one flood plain. */
export function sharedHazards(a: readonly string[], b: readonly string[]): string[] {
  return a.filter((zone) => b.includes(zone));
}
