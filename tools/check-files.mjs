// File checks that neither ESLint nor dependency-cruiser makes: the length of every source file, and a README of one
// page in each library.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';

const LONGEST = 300;
const faults = [];

const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '*.ts', '*.mjs', '*.tsx'], {
  encoding: 'utf8',
});
for (const file of files.split('\n').filter((name) => name && existsSync(name))) {
  const lines = readFileSync(file, 'utf8').split('\n').length - 1;
  if (lines > LONGEST) faults.push(`${file}: ${lines} lines, ${LONGEST} at most: split it by what it does`);
}
for (const entry of readdirSync('libs', { withFileTypes: true })) {
  if (entry.isDirectory() && !existsSync(`libs/${entry.name}/README.md`)) {
    faults.push(`libs/${entry.name}: no README.md (terms, invariants, what a crash does, what may run at once)`);
  }
}
if (faults.length > 0) {
  console.error(faults.join('\n'));
  process.exit(1);
}
