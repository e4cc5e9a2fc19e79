import { readFileSync } from 'node:fs';

/** Of the package that this program belongs to, wherever it was built to. */
export function packageVersion(): string {
  for (
    let directory = new URL('.', import.meta.url);
    directory.pathname !== '/';
    directory = new URL('..', directory)
  ) {
    const version = versionIn(new URL('package.json', directory));
    if (version !== undefined) return version;
  }
  return 'unknown';
}

function versionIn(file: URL): string | undefined {
  try {
    const text: unknown = JSON.parse(readFileSync(file, 'utf8'));
    const found = typeof text === 'object' && text !== null && 'version' in text ? text.version : undefined;
    return typeof found === 'string' ? found : undefined;
  } catch {
    // Not every directory on the way up has one.
    return undefined;
  }
}
