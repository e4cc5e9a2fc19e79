import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's folder, whether this module runs compiled or, in a test, as its source. */
function projectRoot(): string {
  let folder = path.dirname(fileURLToPath(import.meta.url));
  while (!existsSync(path.join(folder, 'package.json'))) folder = path.dirname(folder);
  return folder;
}

/** The compiled entry point of an app: processes are always started compiled. */
export const entryPoint = (app: string, file = 'main.js'): string =>
  path.join(projectRoot(), 'dist', 'apps', app, file);

/**
 * Where V8 keeps what it compiled, beside the compiled code itself: shared by all installations of this build, so that
 * only the very first start of it compiles.
 */
export const compileCache = (): string => path.join(projectRoot(), 'dist', '.compile-cache');
