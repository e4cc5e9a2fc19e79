import { isObjectId, isObjectType, type ObjectName } from './object-names.js';
import type { LaidAside } from './storage.js';

/** Beside the repositories: what was removed lies here until it goes for good, in a folder for each repository. */
export const ASIDE = '.laid-aside';

/** Under which it lies there: `<when it was removed, in milliseconds>.<type>.<id>`. */
export const asideName = ({ name, removedAt }: Pick<LaidAside, 'name' | 'removedAt'>): string =>
  `${removedAt.getTime()}.${name.type}.${name.id ?? ''}`;

/** @returns undefined for whatever else lies there. */
export function parseAsideName(text: string): Pick<LaidAside, 'name' | 'removedAt'> | undefined {
  const [time = '', type = '', id = '', ...rest] = text.split('.');
  if (!/^\d{1,15}$/.test(time) || rest.length > 0) return undefined;
  const name = nameOf(type, id);
  return name && { name, removedAt: new Date(Number(time)) };
}

function nameOf(type: string, id: string): ObjectName | undefined {
  if (type === 'config') return id === '' ? { type } : undefined;
  return isObjectType(type) && isObjectId(id) ? { type, id } : undefined;
}
