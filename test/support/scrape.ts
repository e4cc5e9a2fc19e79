export interface ScrapedSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** What a scrape answered, read as Prometheus reads its text format. */
export class Scraped {
  readonly samples: readonly ScrapedSample[];
  /** Kinds by name, from the TYPE lines. */
  readonly kinds: ReadonlyMap<string, string>;

  constructor(readonly text: string) {
    const lines = text.split('\n').filter((line) => line !== '');
    this.kinds = new Map(
      lines.filter((line) => line.startsWith('# TYPE ')).map((line) => line.split(' ').slice(2, 4) as [string, string]),
    );
    this.samples = lines
      .filter((line) => !line.startsWith('#'))
      .map((line) => {
        const [, name, labels = '', value] = LINE.exec(line) ?? [];
        if (name === undefined || value === undefined)
          throw new Error(`not a line of Prometheus's text format: ${line}`);
        const pairs = [...labels.matchAll(LABEL)].map(([, key, text]) => [key, text] as [string, string]);
        return { name, labels: Object.fromEntries(pairs), value: value === '+Inf' ? Infinity : Number(value) };
      });
  }

  /** @throws unless this port of this machine answers a scrape with 200. */
  static async of(port: number): Promise<Scraped> {
    const response = await fetch(`http://127.0.0.1:${port}/metrics`);
    if (!response.ok) throw new Error(`a scrape was answered ${response.status}`);
    return new Scraped(await response.text());
  }

  /** The value of the sample of this name that has these labels; undefined when there is none. */
  value(name: string, labels: Readonly<Record<string, string>> = {}): number | undefined {
    return this.samples.find(
      (sample) => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
    )?.value;
  }
}
