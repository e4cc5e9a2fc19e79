import { rename, writeFile } from 'node:fs/promises';
import { freePort } from '#libs/platform/postgres';

/**
 * Where each process of the stack serves its figures and its health: ports that are free now, chosen at each start, and
 * told to Prometheus in a file of its own format (`file_sd_configs`), which it reads again when it changes.
 */
export class MetricsTargets {
  private constructor(private readonly ports: ReadonlyMap<string, number>) {}

  /** @param names the processes, for example `site metro` */
  static async choose(names: readonly string[]): Promise<MetricsTargets> {
    const ports = new Map<string, number>();
    const taken = new Set<number>();
    for (const name of names) {
      let port = await freePort();
      while (taken.has(port)) port = await freePort();
      taken.add(port);
      ports.set(name, port);
    }
    return new MetricsTargets(ports);
  }

  url(name: string, path: string): string {
    const port = this.ports.get(name);
    if (port === undefined) throw new Error(`the stack has no process ${name}`);
    return `http://127.0.0.1:${port}${path}`;
  }

  /** The settings of a process for it. */
  environment(name: string): Record<string, string> {
    return { METRICS_HOST: '127.0.0.1', METRICS_PORT: new URL(this.url(name, '/')).port };
  }

  /** True once everything that the process needs answers. */
  async ready(name: string): Promise<boolean> {
    return (await fetch(this.url(name, '/health/ready'))).ok;
  }

  /** Writes the file for Prometheus, whole or not at all. */
  async write(file: string): Promise<void> {
    const targets = [...this.ports].map(([name, port]) => {
      const [process = name, site] = name.split(' ');
      return { targets: [`127.0.0.1:${port}`], labels: { job: `mainstay-${process}`, ...(site ? { site } : {}) } };
    });
    const half = `${file}.half`;
    await writeFile(half, `${JSON.stringify(targets, null, 2)}\n`);
    await rename(half, file);
  }
}
