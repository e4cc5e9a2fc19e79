import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readToken } from './enrolment-token.js';

const TOKEN = 'mainstay_enrol_0123456789abcdefghijklmnop';
let home: string;
let file: string;
let said: string;
const say = (text: string) => {
  said += text;
};

function input(text: string, isTTY = false) {
  said = '';
  const stream = Object.assign(new PassThrough(), { isTTY, setRawMode: () => undefined });
  stream.end(text);
  return { input: stream, say };
}

beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-token-'));
  file = path.join(home, 'token');
  await writeFile(file, `${TOKEN}\n`);
});
afterAll(() => rm(home, { recursive: true, force: true }));

test('the token comes from a file or from standard input, and neither says anything', async () => {
  expect(await readToken({ tokenFile: file }, input('other'))).toBe(TOKEN);
  expect(await readToken({ tokenFile: '-' }, input(`${TOKEN}\n`))).toBe(TOKEN);
  expect(await readToken({}, input(TOKEN))).toBe(TOKEN);
  expect(said).toBe('');
  const nothing = { code: 'agent.token-missing' };
  await expect(readToken({}, input('\n'))).rejects.toMatchObject(nothing);
  await expect(readToken({ tokenFile: path.join(home, 'none') }, input(''))).rejects.toMatchObject(nothing);
});

test('whoever sits there is asked, and does not see what is typed', async () => {
  expect(await readToken({}, input(`${TOKEN}\r\n`, true))).toBe(TOKEN);
  expect(said).toContain('one-time token');
  expect(said).not.toContain(TOKEN);
});

test('on the command line it works, with a warning that others can see it', async () => {
  expect(await readToken({ token: TOKEN }, input(''))).toBe(TOKEN);
  expect(said).toContain('--token-file');
  expect(said).not.toContain(TOKEN);
  await expect(readToken({ token: TOKEN, tokenFile: file }, input(''))).rejects.toMatchObject({ kind: 'invalid' });
});
