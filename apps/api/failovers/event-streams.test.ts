import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { type TestAgency, TestApi } from '#test/api';
import { EventStreams, TooManyStreamsError } from './event-streams.js';

/** One open event stream, as far as a client sees it. */
interface Stream {
  readonly status: number;
  readonly text: () => string;
  readonly ended: () => boolean;
  readonly close: () => void;
}

describe('event streams of runs that wait for a person for days', () => {
  let api: TestApi;
  let agency: TestAgency;
  const runId = randomUUID();
  const open: Stream[] = [];

  beforeAll(async () => {
    api = await TestApi.start();
    agency = await api.agency();
    await api.rows(`SELECT set_config('session_replication_role', 'replica', false)`);
    await api.rows(
      `INSERT INTO failover_run (tenant_id, id, workload_id, declaration_id, declaration_number, site_id, order_id, epoch, state)
       VALUES ($1, $2, $2, $2, 1, $2, $2, 2, 'awaiting-confirmation')`,
      [agency.id, runId],
    );
    await api.rows(`SELECT set_config('session_replication_role', 'origin', false)`);
    await tell(1);
  });
  afterAll(async () => {
    for (const stream of open) stream.close();
    await api.close();
  });

  const tell = (number: number) =>
    api.rows(
      `INSERT INTO run_event (tenant_id, run_id, number, at, state, message, evidence)
       VALUES ($1, $2, $3, now(), 'awaiting-confirmation', 'waiting', '{}')`,
      [agency.id, runId, number],
    );

  async function follow(token: string, after = 0): Promise<Stream> {
    const stop = new AbortController();
    const response = await fetch(`${api.url}/v1/failovers/${runId}/events?after=${after}`, {
      headers: { authorization: `Bearer ${token}` },
      signal: stop.signal,
    });
    let text = '';
    let ended = false;
    const read = async (): Promise<void> => {
      for await (const part of response.body!.pipeThrough(new TextDecoderStream())) text += part;
    };
    void read().then(
      () => (ended = true),
      (error: unknown) => {
        // One that we have closed ourselves breaks off; any other must come to a proper end.
        if (!stop.signal.aborted) throw error;
      },
    );
    const stream = { status: response.status, text: () => text, ended: () => ended, close: () => stop.abort() };
    open.push(stream);
    return stream;
  }
  const within = { timeoutMs: 20_000, everyMs: 20 };

  it('200 for ten of one caller, 429 for the eleventh; a closed one leaves its place to another, another caller has its own', async () => {
    const key = await api.apiKey(agency.owner, ['failovers:read']);
    const streams = await Promise.all(Array.from({ length: 10 }, () => follow(key)));
    expect(streams.map(({ status }) => status)).toEqual(Array.from({ length: 10 }, () => 200));
    const refused = await api.get(`/v1/failovers/${runId}/events`, key);
    expect([refused.status, refused.body.code]).toEqual([429, 'streams.too-many']);
    expect((await follow(agency.apiKey)).status).toBe(200);
    streams[0]!.close();
    await waitFor('the place to be free', async () => (await follow(key)).status === 200, within);
    // All of them hear of the same event, whatever each had heard before.
    const late = await follow(agency.owner, 1);
    await tell(2);
    await waitFor(
      'all to hear',
      () => [...streams.slice(1), late].every((one) => one.text().includes('id: 2')),
      within,
    );
    expect([streams[1]!.text().includes('id: 1'), late.text().includes('id: 1')]).toEqual([true, false]);
    for (const stream of open.splice(0)) stream.close();
  });

  it('fifty of one agency, however many keys it makes; another agency has its own', () => {
    const streams = new EventStreams();
    const leaves = Array.from({ length: 50 }, (_, key) => streams.enter('elm', `key:${key}`));
    expect(() => streams.enter('elm', 'key:50')).toThrow('Your agency follows 50 streams already.');
    streams.enter('oak', 'key:51');
    leaves[0]!();
    leaves[0]!();
    streams.enter('elm', 'key:52');
    expect(() => streams.enter('elm', 'key:53')).toThrow(TooManyStreamsError);
  });

  it('ends for a revoked key, an ended session and a member without the right, and goes on for all others', async () => {
    const made = await api.post(
      '/v1/api-keys',
      { name: 'leaked', scopes: ['failovers:read'], expiresInDays: 1 },
      agency.owner,
    );
    const session = await api.signIn(agency.email);
    const member = await api.member(agency, 'auditor');
    const doomed = [await follow(made.body.key), await follow(session), await follow(member.token)];
    const staying = await follow(agency.apiKey);
    expect([...doomed, staying].map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    await api.call('DELETE', `/v1/api-keys/${made.body.id}`, { token: agency.owner });
    await api.call('DELETE', '/v1/sessions/current', { token: session });
    await api.call('DELETE', `/v1/members/${member.id}`, { token: agency.owner });
    await waitFor('the streams to end', () => doomed.every((stream) => stream.ended()), within);
    expect(staying.ended()).toBe(false);
    await tell(3);
    await waitFor('the other to hear', () => staying.text().includes('id: 3'), within);
    for (const stream of doomed) expect(stream.text()).not.toContain('id: 3');
  });

  it('ends for the keys of a suspended agency', async () => {
    const staff = await api.staff();
    const stream = await follow(agency.apiKey);
    expect((await api.post(`/v1/staff/agencies/${agency.id}/suspend`, { reason: 'test' }, staff)).status).toBe(200);
    await waitFor('the stream to end', () => stream.ended(), within);
  });
});
