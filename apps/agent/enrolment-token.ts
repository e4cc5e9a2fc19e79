import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import type { ReadStream } from 'node:tty';
import { Writable } from 'node:stream';
import { DomainError, errorText } from '#libs/platform/errors';

/** Neither on the command line nor where the command was told to read it. */
export class TokenMissingError extends DomainError {
  constructor(message: string, cause?: unknown) {
    super('invalid', 'agent.token-missing', message, { cause });
  }
}

export interface TokenSources {
  /** Given as an argument: whoever may list this machine's processes has seen it, and the shell keeps it. */
  readonly token?: string | undefined;
  /** A file, or `-` for standard input. */
  readonly tokenFile?: string | undefined;
}

export interface Terminal {
  readonly input: NodeJS.ReadableStream & Pick<Partial<ReadStream>, 'isTTY'>;
  /** For the question and for warnings, apart from what the command prints. */
  readonly say: (text: string) => void;
}

/**
 * The one-time token: from the file, from standard input, or from whoever sits there, who does not see what is typed.
 *
 * @throws TokenMissingError
 */
export async function readToken({ token, tokenFile }: TokenSources, { input, say }: Terminal): Promise<string> {
  if (token !== undefined) {
    if (tokenFile !== undefined) throw new TokenMissingError('Give --token-file or --token, not both.');
    say(
      'A token on the command line can be seen by everybody on this machine, and stays in the shell’s history: use --token-file.\n',
    );
    return token;
  }
  if (tokenFile !== undefined && tokenFile !== '-') return firstLine(await fileText(tokenFile), tokenFile);
  if (input.isTTY === true && tokenFile === undefined) return firstLine(await typed(input, say), 'what was typed');
  const parts: Buffer[] = [];
  for await (const part of input) parts.push(Buffer.from(part));
  return firstLine(Buffer.concat(parts).toString('utf8'), 'standard input');
}

async function fileText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new TokenMissingError(`The token cannot be read from ${file}: ${errorText(error)}.`, error);
  }
}

function firstLine(text: string, where: string): string {
  const line = text.split('\n', 1)[0]?.trim() ?? '';
  if (line === '')
    throw new TokenMissingError(`There is no token in ${where}. Make one in Mainstay, and save it to a file.`);
  return line;
}

function typed(input: NodeJS.ReadableStream, say: (text: string) => void): Promise<string> {
  // readline echoes to its output what is typed: into nowhere.
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input, output: nowhere, terminal: true });
  say('The one-time token (it is not shown): ');
  return new Promise((resolve) => {
    lines.once('close', () => resolve(''));
    lines.once('SIGINT', () => lines.close());
    lines.once('line', (line) => {
      resolve(line);
      say('\n');
      lines.close();
    });
  });
}
