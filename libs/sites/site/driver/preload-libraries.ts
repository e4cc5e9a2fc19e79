import type { SiteBuild } from './driver.js';
import { LibraryRefusedError } from './errors.js';

/** Settings that name libraries which the server loads by itself. */
export const LIBRARY_SETTINGS = ['shared_preload_libraries', 'session_preload_libraries'] as const;

const BARE = /^[A-Za-z0-9_-]{1,63}$/;

export interface LibraryNames {
  /** As the site loads them: without a folder and without an ending, so out of PostgreSQL's own folder of libraries. */
  readonly names: readonly string[];
  /** What names a place: a site would load there whatever the agency has put there. */
  readonly places: readonly string[];
}

/** The value of a setting as in {@link LIBRARY_SETTINGS}, taken apart. `$libdir/` is what a bare name means. */
export function libraryNames(value: string): LibraryNames {
  const names: string[] = [];
  const places: string[] = [];
  for (const part of value.split(',')) {
    const text = part.trim().replaceAll(/^["']+|["']+$/g, '');
    if (text === '') continue;
    const bare = text.replace(/^\$libdir\//, '').replace(/\.(so|dylib)$/, '');
    if (BARE.test(bare)) names.push(bare);
    else places.push(text);
  }
  return { names: [...new Set(names)], places };
}

/** Of a setting's value what may be rendered: bare names. */
export function bareLibraries(value: string): string {
  return libraryNames(value).names.join(', ');
}

type Parameters = Readonly<Record<string, string>>;

/** The settings, their libraries by bare names, all of which the site's PostgreSQL has. @throws LibraryRefusedError */
export async function withKnownLibraries(
  parameters: Parameters,
  build: () => Promise<SiteBuild>,
): Promise<Record<string, string>> {
  const named = LIBRARY_SETTINGS.filter((name) => (parameters[name] ?? '').trim() !== '');
  if (named.length === 0) return { ...parameters };
  const { libraries } = await build();
  const found = named.map((name) => ({ name, ...libraryNames(parameters[name] ?? '') }));
  const refused = found.flatMap(({ names, places }) => [
    ...places,
    ...names.filter((each) => !libraries.includes(each)),
  ]);
  if (refused.length > 0) throw new LibraryRefusedError(refused);
  return { ...parameters, ...Object.fromEntries(found.map(({ name, names }) => [name, names.join(', ')])) };
}

/** The same, but libraries that the site has not are left out: what a standby has stays, since it would not start. */
export async function unlessUnknown(
  parameters: Parameters,
  build: () => Promise<SiteBuild>,
): Promise<Record<string, string>> {
  try {
    return await withKnownLibraries(parameters, build);
  } catch (error) {
    if (!(error instanceof LibraryRefusedError)) throw error;
    const others = Object.entries(parameters).filter(([name]) => !LIBRARY_SETTINGS.some((each) => each === name));
    return Object.fromEntries(others);
  }
}
