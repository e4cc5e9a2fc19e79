// The dependency table of the architecture: a library imports lower tiers only, through the index of the same side or
// a contract. One table, from which the rules are made; `npm run lint` checks it, type imports and lazy imports included.

/** Lowest first. A library may import those of the tiers before its own. */
const TIERS = [
  ['platform', 'link'],
  ['audit', 'metering'],
  ['identity'],
  ['tenancy'],
  ['notifications', 'billing', 'sites'],
  ['protection'],
  ['replication', 'archive'],
  ['recovery'],
  ['failover'],
];
const SIDES = ['control', 'site', 'agent'];
/** What each app may reach of the domain libraries: its own side only. */
const APP_SIDES = { api: 'control', worker: 'control', site: 'site', link: 'site', agent: 'agent' };

const domain = TIERS.slice(1).flat();
const any = (names) => `(${names.join('|')})`;
const rule = (name, comment, from, to) => ({ name, comment, severity: 'error', from, to });
const notTests = '\\.test\\.ts$';

const tierRules = TIERS.flatMap((tier, index) =>
  tier.map((lib) => {
    const allowed = [lib, ...TIERS.slice(0, index).flat()];
    // link may use platform: both are tier 0, and platform never looks back.
    if (lib === 'link') allowed.push('platform');
    return rule(
      `tier-${lib}`,
      `libs/${lib} may import only: ${allowed.join(', ')}. What must flow upward goes by outbox events.`,
      { path: `^libs/${lib}/`, pathNot: notTests },
      { path: '^libs/', pathNot: `^libs/${any(allowed)}/` },
    );
  }),
);

const sideRules = SIDES.map((side) =>
  rule(
    `side-${side}`,
    `A ${side}/ side imports ${side}/ sides and contracts only: the sides run in different processes and databases.`,
    { path: `^libs/[^/]+/${side}/`, pathNot: notTests },
    { path: `^libs/${any(domain)}/${any(SIDES.filter((other) => other !== side))}/` },
  ),
);

const appRules = Object.entries(APP_SIDES).flatMap(([app, side]) => [
  rule(
    `app-${app}-side`,
    `apps/${app} reaches only ${side}/ sides.`,
    { path: `^apps/${app}/`, pathNot: notTests },
    { path: `^libs/${any(domain)}/${any(SIDES.filter((other) => other !== side))}/` },
  ),
  rule(
    `app-${app}-apart`,
    'Apps never import apps.',
    { path: `^apps/${app}/` },
    { path: '^apps/', pathNot: `^apps/${app}/` },
  ),
]);

export default {
  forbidden: [
    ...tierRules,
    ...sideRules,
    ...appRules,
    rule('no-cycles', 'A cycle is a design fault: cut it.', {}, { circular: true }),
    rule(
      'contracts-are-plain',
      'contract.ts holds zod schemas and types: no Nest, no database.',
      { path: '^libs/[^/]+/contract' },
      { path: '(@nestjs|typeorm|node_modules/pg/)' },
    ),
    rule(
      'agent-is-lean',
      'The agent has neither a database of its own nor Nest.',
      { path: '^(apps/agent|libs/[^/]+/agent)/', pathNot: notTests },
      { path: 'node_modules/(@nestjs|typeorm|bullmq)', reachable: true },
    ),
    rule(
      'entities-stay-home',
      'Entities are private to their library and side.',
      { path: '^(apps|libs/([^/]+))/', pathNot: notTests },
      { path: '^libs/[^/]+/.*\\.entity\\.ts$', pathNot: '^libs/$2/' },
    ),
    rule(
      'through-the-index',
      'Another library is reached through an index.ts or its contract.',
      { path: '^libs/([^/]+)/', pathNot: notTests },
      { path: '^libs/', pathNot: '(^libs/$1/|/index\\.ts$|/contract\\.ts$)' },
    ),
    rule(
      'typeorm-fence',
      'typeorm only in libs and migrations.',
      { path: '^(apps|bench)/', pathNot: notTests },
      { path: 'node_modules/typeorm' },
    ),
    rule(
      'bullmq-fence',
      'bullmq only in platform/queue.',
      { pathNot: '^libs/platform/queue/' },
      { path: 'node_modules/bullmq' },
    ),
    rule(
      'telemetry-fence',
      'Prometheus and OpenTelemetry only in platform/telemetry: domains define metrics and open spans there.',
      { pathNot: '^libs/platform/telemetry/' },
      { path: 'node_modules/(prom-client|@opentelemetry)/' },
    ),
    rule(
      'telemetry-lazy',
      'A process that is not observed loads neither library: only the two files that are imported lazily reach them.',
      { path: '^libs/platform/telemetry/', pathNot: '/(otlp|prometheus)\\.ts$' },
      { path: 'node_modules/(prom-client|@opentelemetry)/' },
    ),
    rule('stripe-fence', 'stripe only in billing.', { pathNot: '^libs/billing/' }, { path: 'node_modules/stripe' }),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      conditionNames: ['source', 'import', 'node', 'default', 'types'],
      exportsFields: ['exports'],
    },
  },
};
