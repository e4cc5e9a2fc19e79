/** restic's five types of objects (restic's REST protocol, "Overview"). The repository's config is an object beside them. */
export const OBJECT_TYPES = ['data', 'index', 'keys', 'locks', 'snapshots'] as const;
export type ObjectType = (typeof OBJECT_TYPES)[number];

/** The id of an object is the SHA-256 of its bytes, in lower-case hexadecimal; a config has none. */
export type ObjectName =
  { readonly type: ObjectType; readonly id: string } | { readonly type: 'config'; readonly id?: undefined };

/** What a request's path names; the repository is one of ours by form, not yet by existence. */
export type VaultTarget =
  | { readonly kind: 'repository'; readonly repository: string }
  | { readonly kind: 'list'; readonly repository: string; readonly type: ObjectType }
  | { readonly kind: 'object'; readonly repository: string; readonly name: ObjectName };

const REPOSITORY = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const ID = /^[0-9a-f]{64}$/;

export const isObjectId = (text: string): boolean => ID.test(text);
export const isObjectType = (text: string): text is ObjectType => (OBJECT_TYPES as readonly string[]).includes(text);

/** For messages and logs: `data/3f…`. */
export const objectLabel = (name: ObjectName): string =>
  name.type === 'config' ? 'config' : `${name.type}/${name.id}`;

/**
 * Reads the path of a request, as it stands in the request line. It is never decoded: nothing that we name needs an
 * escape, so a path that holds one names nothing.
 *
 * @returns undefined for everything that is not exactly a name of the protocol: 404.
 */
export function parseTarget(path: string): VaultTarget | undefined {
  const [root, repository, kind, id, ...rest] = path.split('/');
  if (root !== '' || repository === undefined || !REPOSITORY.test(repository) || rest.length > 0) return undefined;
  if (kind === undefined || (kind === '' && id === undefined)) return { kind: 'repository', repository };
  if (kind === 'config') return id === undefined ? { kind: 'object', repository, name: { type: 'config' } } : undefined;
  if (!isObjectType(kind)) return undefined;
  if (id === undefined || id === '') return { kind: 'list', repository, type: kind };
  return isObjectId(id) ? { kind: 'object', repository, name: { type: kind, id } } : undefined;
}
