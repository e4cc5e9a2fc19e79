import type { LegView } from './health/health.js';

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface Connection {
  /** In the order in which clients should try them. */
  readonly addresses: readonly (Address & { readonly what: string })[];
  /** libpq's key and value form, without database, user and password. */
  readonly libpq: string;
  readonly uri: string;
  /** PEM, one after the other: what signs for the front doors' standbys. Null as long as there is none. */
  readonly rootCertificates: string | null;
  readonly note: string;
}

/**
 * How clients connect so that they go on by themselves after a failover: all addresses listed, whichever accepts
 * writes is taken. Without the two time limits libpq hangs on a frozen server for more than 20 s; with them it was
 * 2.1 s (facts: clients and slow lines).
 */
export function connectionOf(own: Address | null, legs: readonly LegView[]): Connection {
  const doors = legs.flatMap((leg) =>
    leg.frontDoor ? [{ ...leg.frontDoor, what: `front door at ${leg.siteName}` }] : [],
  );
  const addresses = [
    ...(own ? [{ ...own, what: 'the agency’s own server' }] : []),
    ...doors.map(({ host, port, what }) => ({ host, port, what })),
  ];
  const hosts = addresses.map(({ host }) => host).join(',');
  const ports = addresses.map(({ port }) => port).join(',');
  const options = 'target_session_attrs=read-write connect_timeout=2 tcp_user_timeout=5000';
  const authority = addresses.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`).join(',');
  const authorities = doors.flatMap(({ authority }) => authority ?? []);
  const missing = [
    ...(own ? [] : ['Set clientAddress to have the agency’s own server listed first.']),
    ...(doors.length > 0 ? [] : ['Front doors are listed once the sites have opened them.']),
  ];
  return {
    addresses,
    libpq: addresses.length === 0 ? options : `host=${hosts} port=${ports} ${options}`,
    uri: `postgresql://${authority}/?${options.replaceAll(' ', '&')}`,
    rootCertificates: authorities.length === 0 ? null : authorities.join(''),
    note: ['Add dbname, user and password.', ...missing].join(' '),
  };
}
