import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { Command } from 'commander';
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { Identity, type NewStaff, Staff, staffRole } from '#libs/identity/control';
import { ConfigurationError, loadConfig } from '#libs/platform/config';
import { UnitOfWork } from '#libs/platform/database';
import { DomainError } from '#libs/platform/errors';
import { coreEnvironment } from './api.environment.js';
import { CoreModule } from './core.module.js';

/**
 * Makes a staff member from the command line: the installer's way to the first administrator. An administrator with
 * this address who exists already gets the password anew, so a repeated installation does no harm; the second factor
 * stays, unless it is said to be lost.
 */
async function createStaff(who: Omit<NewStaff, 'passwordHash'>, password: string, lost: boolean): Promise<string> {
  const environment = { ...loadConfig(coreEnvironment), LOG_LEVEL: 'error' };
  const app = await NestFactory.createApplicationContext(CoreModule.forProcess('create-staff', environment), {
    logger: false,
    abortOnError: false,
  });
  try {
    const people = app.get(Staff);
    const staff = { ...who, passwordHash: await app.get(Identity).hash(password, who.email) };
    return await app.get(UnitOfWork).provider(async (tx) => {
      const made = await (staff.role === 'administrator'
        ? people.ensureAdministrator(tx, staff)
        : people.create(tx, staff, null));
      if (lost) await people.resetSecondFactor(tx, made.id, null);
      return made.id;
    });
  } finally {
    await app.close();
  }
}

const options = z.object({
  email: z.email(),
  name: z.string().min(1),
  role: staffRole,
  passwordFile: z.string().optional(),
  resetSecondFactor: z.boolean().default(false),
});

const program = new Command('create-staff')
  .description('Makes a member of the provider’s staff. The password is read from standard input or from a file.')
  .requiredOption('--email <address>')
  .requiredOption('--name <name>')
  .option('--role <role>', 'administrator, operator or support', 'administrator')
  .option('--password-file <path>', 'instead of standard input')
  .option('--reset-second-factor', 'takes an authenticator app away that was lost; the next sign-in sets one up');

try {
  const { passwordFile, resetSecondFactor, ...who } = options.parse(program.parse().opts());
  const password = (passwordFile === undefined ? await text(process.stdin) : readFileSync(passwordFile, 'utf8')).trim();
  process.stdout.write(`${await createStaff(who, password, resetSecondFactor)}\n`);
} catch (error) {
  const known = error instanceof DomainError ? `${error.code}: ${error.message}` : undefined;
  const told = error instanceof ConfigurationError ? error.message : (known ?? String((error as Error).stack));
  process.stderr.write(`${told}\n`);
  process.exitCode = 1;
}
