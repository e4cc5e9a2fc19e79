import { readFile } from 'node:fs/promises';

/**
 * A file's text, or undefined when there is none. Any other failure is thrown: what cannot be read must not be taken
 * for missing, and made anew over the old one.
 */
export async function readIfPresent(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
