import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AuditModule } from '#libs/audit/control';
import { DatabaseModule, UnitOfWork } from '#libs/platform/database';
import { ClockModule, TelemetryModule } from '#libs/platform/nest';
import { authenticatorCode } from '#test/authenticator';
import { type ControlDatabase, createControlDatabase } from '#test/databases';
import { Identity, IdentityModule, SessionTokens, type SignedIn, SignIn, Staff, TwoFactor } from './index.js';

const SECRET = 'a secret of the tests, long enough for all';
const PASSWORD = 'four wet herons stood';

class Root {}

describe('people, passwords and sessions', () => {
  let database: ControlDatabase;
  let work: UnitOfWork;
  let identity: Identity;
  let signing: SignIn;
  let twoFactor: TwoFactor;
  let staff: Staff;
  let tokens: SessionTokens;
  let close: () => Promise<void>;

  beforeAll(async () => {
    database = await createControlDatabase();
    Module({
      imports: [
        TelemetryModule.forProcess('identity test', 'silent'),
        ClockModule,
        DatabaseModule.forControl({
          tenant: { url: database.tenantUrl, applicationName: 'test', max: 4 },
          provider: { url: database.providerUrl, applicationName: 'test', max: 4 },
        }),
        AuditModule,
        IdentityModule.forProcess({ secret: SECRET, publicUrl: 'http://127.0.0.1' }),
      ],
    })(Root);
    const app = await NestFactory.createApplicationContext(Root, { logger: false, abortOnError: false });
    [work, identity, staff, tokens] = [app.get(UnitOfWork), app.get(Identity), app.get(Staff), app.get(SessionTokens)];
    [signing, twoFactor] = [app.get(SignIn), app.get(TwoFactor)];
    close = () => app.close();
  });

  afterAll(async () => {
    await close();
    await database.drop();
  });

  const person = async (email: string): Promise<string> => {
    const passwordHash = await identity.hash(PASSWORD, email);
    return work.provider((tx) => identity.create(tx, { email, name: 'Ada Clerk', passwordHash }));
  };
  const signIn = (email: string, password: string, code?: string, address = '192.0.2.1') =>
    signing.attempt<SignedIn>({ email, password, code, address }, (_tx, signedIn) => Promise.resolve(signedIn));

  it('keeps a person with an argon2id hash, and signs in with the right password only', async () => {
    const userId = await person('ada@elm.example');
    const [row] = await work.provider((tx) =>
      tx.query<{ password: string }>(`SELECT password FROM auth.account WHERE "userId" = $1`, [userId]),
    );
    expect(row?.password).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(await signIn('ada@elm.example', 'not the password at all')).toEqual({ kind: 'refused' });
    expect(await signIn('nobody@elm.example', PASSWORD)).toEqual({ kind: 'refused' });
    expect(await signIn('ADA@elm.example', PASSWORD)).toMatchObject({ kind: 'signed-in', value: { userId } });
  });

  it('writes the person in the caller’s transaction: rolled back, there is none', async () => {
    const passwordHash = await identity.hash(PASSWORD, 'bob@elm.example');
    const failing = work.provider(async (tx) => {
      await identity.create(tx, { email: 'bob@elm.example', name: 'Bob', passwordHash });
      throw new Error('the rest of the sign-up failed');
    });
    await expect(failing).rejects.toThrow('the rest of the sign-up failed');
    expect(await work.provider((tx) => identity.find(tx, 'bob@elm.example'))).toBeUndefined();
  });

  it('locks after ten refusals from one address, and not for the person at another', async () => {
    await person('cy@elm.example');
    for (let i = 0; i < 10; i++) expect((await signIn('cy@elm.example', 'wrong wrong wrong')).kind).toBe('refused');
    expect((await signIn('cy@elm.example', PASSWORD)).kind).toBe('locked');
    expect((await signIn('cy@elm.example', PASSWORD, undefined, '198.51.100.7')).kind).toBe('signed-in');
  });

  it('locked out by strangers everywhere, a person still signs in from where they have before, and nobody else', async () => {
    await person('em@elm.example');
    expect((await signIn('em@elm.example', PASSWORD, undefined, '2001:db8:a:1::7')).kind).toBe('signed-in');
    for (let host = 0; host < 10; host++) {
      const tries = Array.from({ length: 11 }, () =>
        signIn('em@elm.example', 'wrong wrong wrong', undefined, `198.51.100.${host}`),
      );
      await Promise.all(tries);
    }
    expect((await signIn('em@elm.example', PASSWORD, undefined, '203.0.113.9')).kind).toBe('locked');
    // Another address of the same subscriber's network.
    expect((await signIn('em@elm.example', PASSWORD, undefined, '2001:db8:a:1:ffff::8')).kind).toBe('signed-in');
  });

  it('counts a subscriber’s whole IPv6 network as one source', async () => {
    await person('flo@elm.example');
    for (let i = 0; i < 10; i++) await signIn('flo@elm.example', 'wrong wrong wrong', undefined, `2001:db8:b:1::${i}`);
    expect((await signIn('flo@elm.example', PASSWORD, undefined, '2001:db8:b:1::ffff')).kind).toBe('locked');
    expect((await signIn('flo@elm.example', PASSWORD, undefined, '2001:db8:b:2::1')).kind).toBe('signed-in');
  });

  it('tries at once are no more than tries one after the other', async () => {
    await person('gus@elm.example');
    const tries = await Promise.all(Array.from({ length: 30 }, () => signIn('gus@elm.example', 'wrong wrong wrong')));
    expect(tries.filter(({ kind }) => kind === 'refused')).toHaveLength(10);
  });

  it('a flood of sign-ins takes no connection from the look-ups of who calls', async () => {
    const busy = Array.from({ length: 40 }, (_, i) =>
      signIn(`nobody${i}@elm.example`, PASSWORD, undefined, '192.0.2.200'),
    );
    const held = work.provider(async (tx) => {
      await tx.query('SELECT 1');
      // All of the pool's connections taken, by whatever takes them.
      await Promise.all(
        [1, 2, 3].map(() =>
          work.provider(async (inner) => {
            await inner.query('SELECT 1');
            expect(await work.lookUp((look) => look.query('SELECT 1 AS one'))).toEqual([{ one: 1 }]);
          }),
        ),
      );
    });
    await held;
    expect(new Set((await Promise.all(busy)).map(({ kind }) => kind))).toEqual(new Set(['refused']));
  });

  it('asks for the second factor once it is set up, takes codes and backup codes', async () => {
    await person('di@elm.example');
    const tenantId = '7c1c3c86-5a0e-4b0c-9d7e-0d5d3c1f0a01';
    const first = await signIn('di@elm.example', PASSWORD);
    if (first.kind !== 'signed-in') throw new Error(first.kind);
    const { token } = first.value;
    await work.provider((tx) => identity.dedicate(tx, token, { audience: 'member', tenantId }));
    await expect(twoFactor.prove(token, 'not the password at all')).rejects.toMatchObject({ code: 'session.refused' });
    const proven = await twoFactor.prove(token, PASSWORD);
    const { uri, backupCodes } = await work.provider((tx) => twoFactor.begin(tx, token, proven));
    const renewed = await work.provider((tx) => twoFactor.confirm(tx, token, authenticatorCode(uri)));
    const [session] = await work.provider((tx) =>
      tx.query<{ tenantId: string }>(`SELECT "tenantId" FROM auth.session WHERE token = $1`, [
        tokens.verify(renewed.token),
      ]),
    );
    expect(session).toEqual({ tenantId });
    expect(await signIn('di@elm.example', PASSWORD)).toEqual({ kind: 'code-required' });
    expect(await signIn('di@elm.example', PASSWORD, '000000')).toEqual({ kind: 'code-wrong' });
    const next = authenticatorCode(uri, 1);
    expect((await signIn('di@elm.example', PASSWORD, next)).kind).toBe('signed-in');
    expect((await signIn('di@elm.example', PASSWORD, next)).kind).toBe('code-wrong');
    expect((await signIn('di@elm.example', PASSWORD, backupCodes[0])).kind).toBe('signed-in');
    expect((await signIn('di@elm.example', PASSWORD, backupCodes[0])).kind).toBe('code-wrong');
  });

  it('refuses passwords that are short or easy to guess', async () => {
    for (const unfit of ['short', 'aaaaaaaaaaaaaaaa', 'my password 1234', 'ada.clerk and more']) {
      await expect(identity.hash(unfit, 'ada.clerk@elm.example')).rejects.toMatchObject({ code: 'password.unfit' });
    }
  });

  it('makes an administrator once, however often the installer asks', async () => {
    const admin = { email: 'ops@mainstay.example', name: 'Ops' };
    const ensure = async (password: string) => {
      const passwordHash = await identity.hash(password, admin.email);
      return work.provider((tx) => staff.ensureAdministrator(tx, { ...admin, passwordHash }));
    };
    const made = await ensure(PASSWORD);
    const again = await ensure(`${PASSWORD} twice`);
    expect(again.id).toBe(made.id);
    expect((await signIn(admin.email, PASSWORD)).kind).toBe('refused');
    expect((await signIn(admin.email, `${PASSWORD} twice`)).kind).toBe('signed-in');
  });

  it('accepts no session that was not signed here', () => {
    const signed = tokens.sign('abcdef');
    expect(tokens.verify(signed)).toBe('abcdef');
    expect(tokens.verify(`abcdeg${signed.slice(6)}`)).toBeUndefined();
    expect(tokens.verify('abcdef')).toBeUndefined();
    expect(new SessionTokens(`${SECRET}x`).verify(signed)).toBeUndefined();
  });
});
