import { z } from 'zod';

/** What kind of government an agency is: the terms of the Census of Governments, as far as we serve them. */
export const governmentKind = z
  .enum([
    'town',
    'city',
    'village',
    'county',
    'special-district',
    'utility-district',
    'school-district',
    'tribal-government',
    'state-agency',
  ])
  .meta({ id: 'GovernmentKind' });

/** The Postal Service's codes of the states, the District of Columbia and the territories. */
const STATES =
  'AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY AS GU MP PR VI'.split(
    ' ',
  );
export const stateCode = z
  .string()
  .refine((code) => STATES.includes(code), 'must be a USPS state code, for example VT')
  .meta({ description: 'USPS code of the state or territory.', examples: ['VT'] });

/** A line of text that people write and others read: no control characters, so nothing is smuggled into a mail. */
export const plainText = (most: number) =>
  z
    .string()
    .trim()
    .min(1)
    .max(most)
    .regex(/^[^\p{Cc}\p{Cf}]+$/u, 'must be plain text on one line');

/** `evil.example`, `https://…`, `//…`, `a@b`: what a mail program may turn into a link. `St. Johnsbury` is none. */
const LINK_LIKE = /[\p{L}\p{N}-]+\.\p{L}{2,}|\/\/|@|\bwww\b/iu;

/** The name of an agency or a person, which we may mail to others: plain text in which nothing looks like a link. */
export const nameText = (most: number) =>
  plainText(most).refine((text) => !LINK_LIKE.test(text), 'must be a name, without addresses of the web or of mail');

export const email = z
  .email()
  .max(200)
  .transform((text) => text.toLowerCase());

export const agencyView = z
  .object({
    id: z.uuid(),
    name: z.string(),
    kind: governmentKind,
    state: z.string(),
    contactName: z.string(),
    contactEmail: z.string(),
    createdAt: z.iso.datetime(),
    suspendedAt: z.iso.datetime().nullable(),
  })
  .meta({ id: 'Agency' });
export type AgencyView = z.infer<typeof agencyView>;

export interface AgencyRow {
  readonly id: string;
  readonly name: string;
  readonly government_kind: z.infer<typeof governmentKind>;
  readonly state_code: string;
  readonly contact_name: string;
  readonly contact_email: string;
  readonly created_at: Date;
  readonly suspended_at: Date | null;
}

export const toAgency = (row: AgencyRow): AgencyView => ({
  id: row.id,
  name: row.name,
  kind: row.government_kind,
  state: row.state_code,
  contactName: row.contact_name,
  contactEmail: row.contact_email,
  createdAt: row.created_at.toISOString(),
  suspendedAt: row.suspended_at?.toISOString() ?? null,
});
