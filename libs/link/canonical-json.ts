/**
 * One text for one value, whatever the order its fields were set in, so that a signature survives a round trip through a
 * database or another program (the rules of RFC 8785 for the values that JSON itself has).
 *
 * @throws TypeError for what JSON cannot say without loss: undefined inside an array, functions, bigints, numbers that
 * are not finite, and objects that are not plain (a Date has to be made text by the caller).
 */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'object') return ofObject(value);
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new TypeError(`${String(value)} has no JSON form`);
  return JSON.stringify(value);
}

function ofObject(value: object): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) throw new TypeError('only plain objects have a JSON form');
  const fields = Object.entries(value)
    // As JSON.stringify does: a field set to undefined is a field left out.
    .filter(([, field]) => field !== undefined)
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(([name, field]) => `${JSON.stringify(name)}:${canonicalJson(field)}`);
  return `{${fields.join(',')}}`;
}
