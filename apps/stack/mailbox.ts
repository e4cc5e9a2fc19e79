import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import path from 'node:path';
import { buffer } from 'node:stream/consumers';
import { SMTPServer } from 'smtp-server';
import { ifPresent } from '#libs/platform/errors';

export interface CaughtMail {
  readonly file: string;
  readonly to: string;
  readonly subject: string;
  /** The text, decoded from quoted-printable or base64. */
  readonly text: string;
}

/**
 * A real SMTP server on loopback that delivers every mail into a folder instead of sending it on: one `.eml` file each,
 * named by time and recipient.
 */
export class Mailbox {
  private readonly server: SMTPServer;

  constructor(readonly directory: string) {
    this.server = new SMTPServer({
      authOptional: true,
      disabledCommands: ['AUTH', 'STARTTLS'],
      logger: false,
      onData: (stream, session, callback) => {
        const recipients = session.envelope.rcptTo.map((recipient) => recipient.address);
        buffer(stream)
          .then((message) => this.keep(message, recipients))
          .then(() => callback(), callback);
      },
    });
  }

  async listen(port: number): Promise<void> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    this.server.listen(port, '127.0.0.1');
    await once(this.server.server, 'listening');
  }

  private async keep(message: Buffer, recipients: readonly string[]): Promise<void> {
    const recipient = (recipients[0] ?? 'nobody').replaceAll(/[^\w.@+-]/g, '_');
    const name = `${new Date().toISOString().replaceAll(':', '-')}-${recipient}-${randomBytes(3).toString('hex')}.eml`;
    const half = path.join(this.directory, `.${name}.half`);
    await writeFile(half, message, { mode: 0o600 });
    await rename(half, path.join(this.directory, name));
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.server.close(() => resolve()));
  }
}

function decode(body: string, encoding: string): string {
  if (encoding === 'base64') return Buffer.from(body, 'base64').toString('utf8');
  if (encoding !== 'quoted-printable') return body;
  const joined = body.replaceAll(/=\r?\n/g, '');
  const bytes = joined.replaceAll(/=([0-9A-F]{2})/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

const header = (head: string, name: string): string =>
  new RegExp(`^${name}:\\s*(.*)$`, 'im').exec(head.replaceAll(/\r?\n[ \t]+/g, ' '))?.[1]?.trim() ?? '';

/** The mails caught for a recipient, oldest first. */
export async function readMailbox(directory: string, recipient: string): Promise<CaughtMail[]> {
  const names = (await ifPresent(readdir(directory))) ?? [];
  const mails: CaughtMail[] = [];
  for (const name of names.filter((entry) => entry.endsWith('.eml')).sort()) {
    const message = await readFile(path.join(directory, name), 'utf8');
    const end = message.search(/\r?\n\r?\n/);
    const head = message.slice(0, end);
    const to = header(head, 'To');
    if (!to.toLowerCase().includes(recipient.toLowerCase())) continue;
    const text = decode(message.slice(end).trimStart(), header(head, 'Content-Transfer-Encoding').toLowerCase());
    mails.push({ file: path.join(directory, name), to, subject: header(head, 'Subject'), text });
  }
  return mails;
}
