import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { ObjectType } from './object-names.js';
import type { ListedObject, VaultStorage } from './storage.js';

/** restic reads version 2, which spares it a HEAD for each object, only if the answer's type is exactly this. */
const VERSION_2 = 'application/vnd.x.restic.rest.v2';
const VERSION_1 = 'application/vnd.x.restic.rest.v1';
const FLUSH_AT = 64 * 1024;

const ENTRIES: Readonly<Record<string, (object: ListedObject) => string>> = {
  [VERSION_1]: ({ id }) => `"${id}"`,
  [VERSION_2]: ({ id, bytes }) => `{"name":"${id}","size":${bytes}}`,
};

/** Streams a type's objects as they are found: a repository may have a million, and is not held in memory. */
export async function sendListing(
  storage: VaultStorage,
  repository: string,
  type: ObjectType,
  accept: string | undefined,
  response: ServerResponse,
): Promise<void> {
  const version = accept === VERSION_2 ? VERSION_2 : VERSION_1;
  const entry = ENTRIES[version] as (object: ListedObject) => string;
  response.writeHead(200, { 'content-type': version });
  let text = '[';
  let separator = '';
  for await (const object of storage.list(repository, type)) {
    text += separator + entry(object);
    separator = ',';
    if (text.length < FLUSH_AT) continue;
    if (!response.write(text)) await Promise.race([once(response, 'drain'), once(response, 'close')]);
    if (response.destroyed) return;
    text = '';
  }
  response.end(`${text}]`);
}
