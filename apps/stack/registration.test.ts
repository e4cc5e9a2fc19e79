import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { TEST_PASSWORD, TestApi } from '#test/api';
import { Installation } from './installation.js';
import { ensureKeys } from './keys.js';
import { ensureSites } from './registration.js';

let api: TestApi;
let home: string;
beforeAll(async () => {
  api = await TestApi.start();
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-registration-'));
});
afterAll(async () => {
  await api.close();
  await rm(home, { recursive: true });
});

/** An installation that was complete before staff had a second factor. */
async function olderInstallation(staffEmail: string, staffPassword: string): Promise<Installation> {
  const { secrets } = (await Installation.open(home)).record;
  const file = path.join(home, 'secrets', 'installation.json');
  const record = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  const apiPort = Number(new URL(api.url).port);
  const older = {
    ...record,
    apiPort,
    staffEmail,
    secrets: { ...secrets, staffPassword, staffAuthenticator: undefined },
    complete: true,
  };
  await writeFile(file, JSON.stringify(older));
  return Installation.open(home);
}

it('sets the authenticator app up of an installation of before, once, and leaves alone what a person has changed', async () => {
  const { email } = await api.staffMember('administrator');
  const installation = await olderInstallation(email, TEST_PASSWORD);
  const keys = await ensureKeys(installation);
  await ensureSites(installation, keys);
  const uri = installation.record.secrets.staffAuthenticator;
  expect(uri).toMatch(/^otpauth:/);
  const signIn = () => api.post('/v1/staff/sessions', { email, password: TEST_PASSWORD });
  expect((await signIn()).body.code).toBe('session.code-required');
  await ensureSites(installation, keys);
  expect(installation.record.secrets.staffAuthenticator).toBe(uri);
  for (const password of [TEST_PASSWORD, 'changed by a person']) {
    const changed = await olderInstallation(email, password);
    await ensureSites(changed, keys);
    expect(changed.record.secrets.staffAuthenticator).toBeUndefined();
  }
});
