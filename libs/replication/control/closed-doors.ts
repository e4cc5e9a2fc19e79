/** Said wherever a protection that lists no client network is looked at: it stops no failover, but nobody gets in. */
export const CLOSED_DOORS = {
  code: 'front-door.closed',
  what: 'No client network is listed, so the front doors are closed to everybody, also after a failover.',
  remedy: 'List from where clients come (PATCH clientNetworks, for example ["10.20.0.0/16"]).',
} as const;
