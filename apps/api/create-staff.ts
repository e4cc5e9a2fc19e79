#!/usr/bin/env node
import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { Command, Option } from 'commander';
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { Identity, type NewStaff, Staff, staffRole } from '#libs/identity/control';
import { ConfigurationError, loadConfig } from '#libs/platform/config';
import { UnitOfWork } from '#libs/platform/database';
import { DomainError } from '#libs/platform/errors';
import { coreEnvironment } from './api.environment.js';
import { CoreModule } from './core.module.js';

/** What is asked for: somebody new, or a second factor taken away. */
type Wanted =
  | { readonly kind: 'make'; readonly who: Omit<NewStaff, 'passwordHash'>; readonly password: string }
  | { readonly kind: 'reset-second-factor'; readonly email: string };

/**
 * Makes a staff member from the command line: the installer's way to the first administrator. An administrator with
 * this address gets the password anew, so a repeated installation does no harm; nobody's role is changed, and nobody
 * who is disabled let in again. A second factor is taken away by a call of its own, which changes nothing else.
 */
async function carryOut(wanted: Wanted): Promise<string> {
  const environment = { ...loadConfig(coreEnvironment), LOG_LEVEL: 'error' };
  const app = await NestFactory.createApplicationContext(CoreModule.forProcess('create-staff', environment), {
    logger: false,
    abortOnError: false,
  });
  try {
    const [people, work] = [app.get(Staff), app.get(UnitOfWork)];
    if (wanted.kind === 'reset-second-factor') {
      return await work.provider((tx) => people.resetSecondFactorOf(tx, wanted.email));
    }
    const { who, password } = wanted;
    const staff = { ...who, passwordHash: await app.get(Identity).hash(password, who.email) };
    const made = await work.provider((tx) =>
      staff.role === 'administrator' ? people.ensureAdministrator(tx, staff) : people.create(tx, staff, null),
    );
    return made.id;
  } finally {
    await app.close();
  }
}

const lost = z.object({ email: z.email(), resetSecondFactor: z.literal(true) });
const newStaff = z.object({
  email: z.email(),
  name: z.string({ error: '--name is missing' }).min(1),
  role: staffRole,
  passwordFile: z.string().optional(),
});

async function wantedBy(options: Record<string, unknown>): Promise<Wanted> {
  if (options['resetSecondFactor'] === true) return { kind: 'reset-second-factor', email: lost.parse(options).email };
  const { passwordFile, ...who } = newStaff.parse(options);
  const password = passwordFile === undefined ? await text(process.stdin) : readFileSync(passwordFile, 'utf8');
  return { kind: 'make', who, password: password.trim() };
}

function told(error: unknown): string {
  if (error instanceof z.ZodError) return z.prettifyError(error);
  if (error instanceof DomainError) return `${error.code}: ${error.message}`;
  return error instanceof ConfigurationError ? error.message : String((error as Error).stack);
}

const program = new Command('mainstay-create-staff')
  .description('Makes a member of the provider’s staff. The password is read from standard input or from a file.')
  .requiredOption('--email <address>')
  .option('--name <name>', 'needed, but for --reset-second-factor')
  .option('--role <role>', 'administrator, operator or support', 'administrator')
  .option('--password-file <path>', 'instead of standard input')
  .addOption(
    new Option(
      '--reset-second-factor',
      'takes away the authenticator app, which was lost, of the staff member with this address, and ends their sessions; password and role stay',
    ).conflicts(['name', 'role', 'passwordFile']),
  )
  .addHelpText(
    'after',
    `
It runs where the api runs, with the api's environment: PUBLIC_URL, ENVIRONMENT_NAME, TENANT_DATABASE_URL,
PROVIDER_DATABASE_URL, QUEUE_URL, SESSION_SECRET_FILE. It prints the staff member's id.`,
  );

try {
  const wanted = await wantedBy(program.parse().opts());
  process.stdout.write(`${await carryOut(wanted)}\n`);
} catch (error) {
  process.stderr.write(`${told(error)}\n`);
  process.exitCode = 1;
}
