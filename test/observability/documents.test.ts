import { glob, readFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { archiveAlarm } from '#contracts/archive';
import { createLogger, definedMetrics, type Metric, Metrics } from '#libs/platform/telemetry';
import { Scraped } from '../support/scrape.js';

const ROOT = path.join(import.meta.dirname, '..', '..');
const read = (file: string): Promise<string> => readFile(path.join(ROOT, 'docs', file), 'utf8');

/** Loads every file that defines a metric, whoever it belongs to. */
async function everyMetric(): Promise<ReadonlyMap<string, Metric>> {
  for await (const file of glob('libs/**/*.ts', { cwd: ROOT })) {
    if (file.endsWith('.test.ts') || file.endsWith('metric.ts')) continue;
    const place = path.join(ROOT, file);
    if (/\bdefine(Counter|Gauge|Histogram)\(/.test(await readFile(place, 'utf8'))) await import(place);
  }
  return new Map(definedMetrics().map((metric) => [metric.name, metric]));
}

/** What each kind of metric is exposed as. */
const exposedAs = ({ name, kind }: Metric): string[] =>
  kind === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name];

interface Dashboard {
  readonly panels: readonly {
    readonly id: number;
    readonly title: string;
    readonly targets?: readonly { readonly expr: string }[];
  }[];
}

describe('what is written of the metrics', () => {
  let metrics: ReadonlyMap<string, Metric>;
  let byExposedName: ReadonlyMap<string, Metric>;
  let ofTheProcess: ReadonlyMap<string, string>;
  let dashboard: Dashboard;
  let alerts: string;

  beforeAll(async () => {
    metrics = await everyMetric();
    byExposedName = new Map([...metrics.values()].flatMap((metric) => exposedAs(metric).map((name) => [name, metric])));
    const own = new Metrics(createLogger({ name: 'test', level: 'silent' }));
    ofTheProcess = new Scraped((await own.scrape()).text).kinds;
    dashboard = JSON.parse(await read('observability/dashboard.json')) as Dashboard;
    alerts = await read('observability/alerts.yml');
  });

  const expressions = (): string[] => [
    ...dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
    ...[...alerts.matchAll(/expr: (?:>-\n)?((?:.|\n)*?)\n\s+(?:for|labels):/g)].map(([, expr]) => expr ?? ''),
  ];

  it('the dashboard and the alerts ask for metrics that the code exports, by labels that they have', () => {
    const found = expressions();
    expect(found.length).toBeGreaterThan(40);
    for (const expr of found) {
      for (const [, name = '', matchers = ''] of expr.matchAll(
        /\b((?:mainstay|process|nodejs)_\w+)(?:\{([^}]*)\})?/g,
      )) {
        if (!name.startsWith('mainstay_')) {
          expect([...ofTheProcess.keys()], expr).toContain(name);
          continue;
        }
        const metric = byExposedName.get(name);
        expect(metric, `${name} in ${expr}`).toBeDefined();
        for (const [, label] of matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g))
          expect(metric!.labels, expr).toContain(label);
      }
    }
    const texts = alerts.match(/mainstay_\w+/g)!;
    for (const name of texts) expect(byExposedName.has(name) || metrics.has(name), name).toBe(true);
  });

  it('the labels of a sum are labels of what is summed, or those that the scrape adds', () => {
    const added = ['job', 'instance', 'site', 'le'];
    for (const expr of expressions()) {
      const names = expr.match(/mainstay_\w+/g) ?? [];
      const labels = new Set([...added, ...names.flatMap((name) => byExposedName.get(name)?.labels ?? [])]);
      for (const [, list = ''] of expr.matchAll(/\b(?:by|on)\s*\(([^)]*)\)/g)) {
        for (const label of list.split(',')) expect([...labels], expr).toContain(label.trim());
      }
    }
  });

  it('the page explains every metric, and none that is not', async () => {
    const page = await read('observability.md');
    const explained = new Set([...page.matchAll(/^\| `(mainstay_\w+)` \|/gm)].map(([, name]) => name));
    expect([...explained].sort()).toEqual([...metrics.keys()].sort());
  });

  it('every alarm of an archive is on the page, and wakes somebody', async () => {
    const page = await read('observability.md');
    const row = /^\| `mainstay_archive_alarm` \|.*$/m.exec(page)?.[0];
    for (const code of archiveAlarm.shape.code.options) {
      expect(row).toContain(`\`${code}\``);
      // The worker looks for those by itself: a site that is silent tells nobody that its archives are late.
      expect(alerts).toContain(
        code === 'late' ? 'mainstay_archives_late > 0' : `mainstay_archive_alarm{code="${code}"}`,
      );
    }
  });

  it('no label tells who somebody is', () => {
    for (const { name, labels } of metrics.values()) {
      for (const label of labels) expect(label, name).not.toMatch(/mail|address|host|agency|tenant|user|workload_name/);
    }
  });

  it('each panel has a number of its own', () => {
    const ids = dashboard.panels.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
  });
});
