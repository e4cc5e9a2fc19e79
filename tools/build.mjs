// Builds dist/ with the native TypeScript compiler; incremental, so that an unchanged tree costs half a second.
import { spawnSync } from 'node:child_process';

const result = spawnSync(process.execPath, ['node_modules/@typescript/native/bin/tsc', '-p', 'tsconfig.json'], {
  stdio: 'inherit',
});
process.exit(result.status ?? 1);
