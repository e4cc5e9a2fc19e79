/** A value of postgresql.conf; booleans become on and off. */
export type ConfigurationValue = string | number | boolean;

/** A client authentication line: columns of pg_hba.conf. */
export interface HbaRule {
  readonly type: 'local' | 'host' | 'hostssl' | 'hostnossl';
  /** A name, or the keywords `all` and `replication`. */
  readonly database: string;
  readonly user: string;
  /** An address with its mask (`127.0.0.1/32`), for all but `local`. */
  readonly address?: string;
  readonly method: 'trust' | 'peer' | 'scram-sha-256' | 'md5' | 'cert' | 'reject';
  /** `map=…` and the like. */
  readonly options?: string;
}

export interface PassfileEntry {
  readonly host: string;
  readonly port: number | '*';
  readonly database: string;
  readonly user: string;
  readonly password: string;
}

const NAME = /^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$/i;
const HBA_KEYWORDS = new Set(['all', 'replication', 'sameuser', 'samerole']);

/**
 * postgresql.conf out of names and values, each quoted: a value can never become another setting.
 *
 * @throws RangeError for a name that is no setting's, or a value with a line break.
 */
export function renderConfiguration(settings: Readonly<Record<string, ConfigurationValue | undefined>>): string {
  const lines = Object.entries(settings)
    .filter((entry): entry is [string, ConfigurationValue] => entry[1] !== undefined)
    .map(([name, value]) => {
      if (!NAME.test(name)) throw new RangeError(`not the name of a setting: ${JSON.stringify(name)}`);
      return `${name} = ${quoteSetting(settingText(value))}`;
    });
  return lines.map((line) => `${line}\n`).join('');
}

/** How a value reads in postgresql.conf and after `-c`. */
export function settingText(value: ConfigurationValue): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  return String(value);
}

/** pg_hba.conf out of rules, in their order; names are quoted but for the keywords. */
export function renderHba(rules: readonly HbaRule[]): string {
  return rules
    .map((rule) => {
      const columns = [rule.type, hbaName(rule.database), hbaName(rule.user), rule.address, rule.method, rule.options];
      return `${columns.filter((column) => column !== undefined).join(' ')}\n`;
    })
    .join('');
}

/** A libpq password file; `:` and `\` in its fields are escaped. Write it with mode 0600, or libpq ignores it. */
export function renderPgpass(entries: readonly PassfileEntry[]): string {
  return entries
    .map((entry) =>
      [entry.host, String(entry.port), entry.database, entry.user, entry.password].map(passfileField).join(':'),
    )
    .map((line) => `${line}\n`)
    .join('');
}

function passfileField(value: string): string {
  forbidLineBreak(value);
  return value.replaceAll('\\', '\\\\').replaceAll(':', '\\:');
}

function quoteSetting(value: string): string {
  forbidLineBreak(value);
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
}

function hbaName(name: string): string {
  forbidLineBreak(name);
  if (name.includes('"')) throw new RangeError('pg_hba.conf cannot hold a name with a double quote');
  return HBA_KEYWORDS.has(name) ? name : `"${name}"`;
}

function forbidLineBreak(value: string): void {
  if (/[\r\n\0]/.test(value)) throw new RangeError('a configuration value must not hold a line break');
}
