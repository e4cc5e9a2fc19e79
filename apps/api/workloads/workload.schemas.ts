import { z } from 'zod';
import { preflightReport, workloadName } from '#contracts/replication';
import { instant } from '#libs/platform/http';
import { WORKLOAD_KINDS } from '#libs/protection/control';
import { location } from '../sites/site.schemas.js';

const clientAddress = z
  .strictObject({ host: z.string().regex(/^[A-Za-z0-9.:-]{1,253}$/), port: z.int().min(1).max(65_535) })
  .meta({ id: 'ClientAddress', description: 'Where the agency’s own clients reach the server.' });

const changeable = {
  functionId: z.uuid().nullable().meta({ description: 'The essential function that it serves.' }),
  location: location.nullable(),
  clientAddress: clientAddress.nullable(),
};

export const workloadInput = z
  .strictObject({
    kind: z.enum(WORKLOAD_KINDS).default('postgresql').meta({
      description: 'files and command can be archived; a PostgreSQL server can be archived and replicated.',
    }),
    name: workloadName.meta({ description: 'As in the agent’s own configuration.', examples: ['permits'] }),
    agentId: z.uuid(),
    functionId: changeable.functionId.default(null),
    location: changeable.location.default(null),
    clientAddress: changeable.clientAddress.default(null),
  })
  .meta({ id: 'WorkloadInput' });
export type WorkloadInput = z.infer<typeof workloadInput>;

export const workloadChange = z.strictObject(changeable).partial().meta({ id: 'WorkloadChange' });
export type WorkloadChange = z.infer<typeof workloadChange>;

export const workloadView = z
  .object({
    id: z.uuid(),
    kind: z.enum(WORKLOAD_KINDS),
    name: z.string(),
    agentId: z.uuid(),
    functionId: z.uuid().nullable(),
    location: location.nullable(),
    clientAddress: clientAddress.nullable(),
    epoch: z.int().meta({ description: 'The fencing epoch in force; it rises with every promotion.' }),
    activeSiteId: z.uuid().nullable().meta({ description: 'Where production runs; null is the agency.' }),
    createdAt: instant,
  })
  .meta({ id: 'Workload' });

/** One workload with how clients connect. */
export const workloadDetail = workloadView
  .extend({
    connection: z
      .object({
        addresses: z.array(z.object({ host: z.string(), port: z.int(), what: z.string() })),
        libpq: z.string(),
        uri: z.string(),
        rootCertificates: z.string().nullable().meta({
          description:
            'PEM: the authorities of the front doors, one after the other. Clients with sslmode=verify-ca or verify-full need them in their sslrootcert, beside what your own server’s certificate is checked by. null: no site has made one yet.',
        }),
        note: z.string(),
      })
      .nullable()
      .meta({ description: 'null: nothing that clients connect to.' }),
    protection: z
      .object({ state: z.string(), condition: z.string(), mode: z.string() })
      .nullable()
      .meta({ description: 'null: not protected.' }),
  })
  .meta({ id: 'WorkloadDetail' });

export const preflightView = z
  .object({
    id: z.uuid(),
    workloadId: z.uuid(),
    siteId: z.uuid(),
    state: z
      .enum(['running', 'passed', 'blocked', 'failed'])
      .meta({ description: 'blocked: see the report’s findings. failed: it could not be run, see failure.' }),
    report: z.object(preflightReport.shape).nullable(),
    failure: z.object({ code: z.string(), message: z.string() }).nullable(),
    requestedAt: instant,
    finishedAt: instant.nullable(),
  })
  .meta({ id: 'Preflight' });
