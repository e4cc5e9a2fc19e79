import { glob, readFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { agentConfiguration, EXAMPLE_CONFIGURATION, postgresWorkloads } from '#libs/sites/agent';
import { apiKeyRequest, signUpRequest } from '#libs/tenancy/control';
import { enrolmentTokenRequest } from '../../apps/api/agents/agent.schemas.js';
import { archiveChange, archiveInput, exitRequest, verdictRequest } from '../../apps/api/archives/archive.schemas.js';
import { declarationRequest, previewRequest } from '../../apps/api/failovers/failover.schemas.js';
import { degradeRequest, protectionChange, protectionInput } from '../../apps/api/protections/protection.schemas.js';
import { dropAsked, holdRequest } from '../../apps/api/recovery-points/recovery-point.schemas.js';
import { restoreRequest } from '../../apps/api/restores/restore.schemas.js';
import { sessionRequest } from '../../apps/api/session/session.schemas.js';
import { workloadInput } from '../../apps/api/workloads/workload.schemas.js';
import { checkKey } from '../../libs/platform/http/idempotency/idempotency.js';

const ROOT = path.join(import.meta.dirname, '..', '..');
const SOME_ID = 'a3bb189e-8bf9-4c88-9c6e-2f1d5b7c0a11';

/** What the routes of the guides take, by method and path. */
const BODIES: Readonly<Record<string, z.ZodType>> = {
  'POST /v1/sign-ups': signUpRequest,
  'POST /v1/sessions': sessionRequest,
  'POST /v1/api-keys': apiKeyRequest,
  'POST /v1/enrolment-tokens': enrolmentTokenRequest,
  'POST /v1/workloads': workloadInput,
  'POST /v1/workloads/$W/protection': protectionInput,
  'PATCH /v1/workloads/$W/protection': protectionChange,
  'POST /v1/workloads/$W/protection/degrade': degradeRequest,
  'POST /v1/workloads/$W/failovers/preview': previewRequest,
  'POST /v1/workloads/$W/failovers': declarationRequest,
  'POST /v1/archives': archiveInput,
  'PATCH /v1/archives/$A': archiveChange,
  'POST /v1/archives/$A/exit': exitRequest,
  'POST /v1/archives/$A/changes/$C/verdict': verdictRequest,
  'POST /v1/restores': restoreRequest,
  'POST /v1/recovery-points/$P/hold': holdRequest,
  'POST /v1/recovery-points/$P/drop': dropAsked,
};

interface Command {
  readonly text: string;
  readonly route: string;
  readonly body: string | undefined;
}

describe('the guides', () => {
  let guides: ReadonlyMap<string, string>;

  beforeAll(async () => {
    const files = ['README.md', 'apps/agent/README.md'];
    for await (const file of glob('docs/*.md', { cwd: ROOT })) files.push(file);
    guides = new Map(
      await Promise.all(files.map(async (file) => [file, await readFile(path.join(ROOT, file), 'utf8')] as const)),
    );
  });

  const commands = (): Command[] =>
    [...guides.values()]
      .flatMap((guide) => guide.replaceAll('\\\n', ' ').split('\n'))
      .filter((line) => line.startsWith('curl '))
      .map((text) => {
        const method = / -X (\w+)/.exec(text)?.[1] ?? 'GET';
        return { text, route: `${method} ${/\$API(\S+)/.exec(text)?.[1]}`, body: / -d '([^']*)'/.exec(text)?.[1] };
      });

  it('send bodies that the routes take', () => {
    const seen = new Set<string>();
    for (const { text, route, body } of commands()) {
      const schema = BODIES[route];
      if (!schema) continue;
      seen.add(route);
      expect(body, text).toBeDefined();
      const given: unknown = JSON.parse(body!.replaceAll('"…"', `"${SOME_ID}"`));
      expect(schema.safeParse(given).error?.issues, text).toBeUndefined();
    }
    expect([...seen].sort()).toEqual(Object.keys(BODIES).sort());
  });

  it('send a body with each POST and PATCH', () => {
    for (const { text, route, body } of commands()) if (!route.startsWith('GET')) expect(body, text).toBeDefined();
  });

  it('send keys of repetition that are taken, and one with each declaration', () => {
    for (const { text, route } of commands()) {
      const key = /Idempotency-Key: ([^'"]+)['"]/.exec(text)?.[1];
      if (key !== undefined) expect(checkKey(key)).toBe(key);
      else expect(route, text).not.toBe('POST /v1/workloads/$W/failovers');
    }
  });

  it('show a configuration of the agent that it reads, signing in as its own example does', () => {
    const [example] = postgresWorkloads(agentConfiguration.parse(JSON.parse(EXAMPLE_CONFIGURATION)));
    const shown = [...guides.values()].flatMap((guide) => [...guide.matchAll(/```json\n([^]*?)```/g)]);
    expect(shown.length).toBeGreaterThan(1);
    for (const [, json = ''] of shown) {
      const workloads = postgresWorkloads(agentConfiguration.parse(JSON.parse(json)));
      for (const workload of workloads) expect({ ...workload, service: example!.service }).toEqual(example);
    }
  });
});
