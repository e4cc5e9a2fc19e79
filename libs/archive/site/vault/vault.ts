import type { IncomingMessage, ServerResponse } from 'node:http';
import { Downloads } from './downloads.js';
import type { VaultCaller, VaultLedger } from './ledger.js';
import { sendListing } from './listings.js';
import { objectLabel, parseTarget, type ObjectName, type VaultTarget } from './object-names.js';
import { type Rate, Rates } from './rates.js';
import { Removals } from './removals.js';
import { RepositoryUsage } from './repository-usage.js';
import type { VaultStorage } from './storage.js';
import { Uploads } from './uploads.js';
import { NotAllowedError, VaultAnswerError, VaultCredentialError } from './vault.errors.js';
import type { VaultDoor } from './vault.metrics.js';
import { mayAct, type VaultAct } from './vault-rules.js';

export interface VaultParts {
  readonly storage: VaultStorage;
  readonly ledger: VaultLedger;
  readonly now: () => Date;
  /** An object does not hash to its name. Called for each attempt to read it. */
  readonly damaged: (repository: string, name: ObjectName) => void;
}

const BASIC = /^Basic ([A-Za-z0-9+/=]{1,512})$/i;

/**
 * restic's REST protocol (restic: doc/REST_backend.rst), for several agencies side by side. Answers one request at a
 * time per connection; any number of connections at once.
 */
export class Vault {
  readonly usage: RepositoryUsage;
  private readonly uploads: Uploads;
  private readonly downloads: Downloads;
  readonly removals: Removals;
  private readonly rates = new Rates();

  constructor(private readonly parts: VaultParts) {
    const { storage, ledger } = parts;
    this.usage = new RepositoryUsage(storage);
    this.downloads = new Downloads(storage, parts.damaged);
    this.uploads = new Uploads(storage, ledger, this.usage, (...object) => this.downloads.trust(...object));
    this.removals = new Removals(storage, ledger, this.usage, parts.now);
  }

  /**
   * @param door the site's own works go as fast as they can
   * @throws VaultAnswerError for every answer that is no success; what else it throws is a fault of ours.
   */
  async answer(request: IncomingMessage, response: ServerResponse, door: VaultDoor): Promise<void> {
    const [path = '', query = ''] = splitOnce(request.url ?? '');
    const target = parseTarget(path);
    if (!target) throw new VaultAnswerError(404, 'path.unknown', 'There is nothing by this name.');
    const caller = await this.authenticate(target.repository, request);
    if (target.kind === 'repository') return this.repository(caller, request, query, response);
    if (target.kind === 'list') return this.list(caller, target, request, response);
    const rate = door === 'site' ? undefined : this.rates.of(caller);
    return this.object({ caller, name: target.name, rate }, request, response);
  }

  private async authenticate(repository: string, request: IncomingMessage): Promise<VaultCaller> {
    const match = BASIC.exec(request.headers.authorization ?? '');
    const said = Buffer.from(match?.[1] ?? '', 'base64').toString('utf8');
    const colon = said.indexOf(':');
    if (colon < 0) throw new VaultCredentialError();
    const caller = await this.parts.ledger.caller(repository, said.slice(0, colon), said.slice(colon + 1));
    if (!caller) throw new VaultCredentialError();
    return caller;
  }

  /** The provider makes repositories; a client may ask for its own to be there, as `restic init` does. */
  private async repository(
    caller: VaultCaller,
    request: IncomingMessage,
    query: string,
    response: ServerResponse,
  ): Promise<void> {
    if (request.method !== 'POST') throw methodRefused('POST');
    if (query !== 'create=true')
      throw new VaultAnswerError(400, 'query.unknown', 'Only create=true is understood here.');
    if (!(await this.parts.storage.repositoryExists(caller.repository))) {
      if (caller.role === 'read') throw new NotAllowedError('This credential reads only.');
      await this.parts.storage.createRepository(caller.repository);
    }
    response.writeHead(200, { 'content-length': 0 }).end();
  }

  private async list(
    caller: VaultCaller,
    { repository, type }: Extract<VaultTarget, { kind: 'list' }>,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    if (request.method !== 'GET') throw methodRefused('GET');
    this.allow(caller, 'read', { type });
    await sendListing(this.parts.storage, repository, type, request.headers.accept, response);
  }

  private async object(
    { caller, name, rate }: { caller: VaultCaller; name: ObjectName; rate: Rate | undefined },
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    switch (request.method ?? '') {
      case 'HEAD':
        this.allow(caller, 'read', name);
        return this.downloads.describe(caller.repository, name, response);
      case 'GET':
        this.allow(caller, 'read', name);
        return this.downloads.send(caller.repository, name, request, response, rate?.given);
      case 'POST':
        this.allow(caller, 'add', name);
        await this.uploads.take({ caller, name, body: request, pace: rate?.taken });
        break;
      case 'DELETE':
        await this.refuseRemoval(caller, name);
        await this.removals.remove(caller, name);
        break;
      default:
        throw methodRefused('HEAD, GET, POST, DELETE');
    }
    response.writeHead(200, { 'content-length': 0 }).end();
  }

  private allow(caller: VaultCaller, act: VaultAct, name: Pick<ObjectName, 'type'>): void {
    if (!mayAct(caller.role, act, name))
      throw new NotAllowedError(`A credential for "${caller.role}" may not do this.`);
  }

  /** restic itself sends a DELETE after each upload that failed, so a refusal alone is no sign of an attack. */
  private async refuseRemoval(caller: VaultCaller, name: ObjectName): Promise<void> {
    if (mayAct(caller.role, 'remove', name)) return;
    const present = await this.parts.storage.stat(caller.repository, name);
    if (present) await this.parts.ledger.refused(caller, 'removal', objectLabel(name));
    this.allow(caller, 'remove', name);
  }
}

function splitOnce(url: string): [string, string] {
  const at = url.indexOf('?');
  return at < 0 ? [url, ''] : [url.slice(0, at), url.slice(at + 1)];
}

const methodRefused = (allow: string): VaultAnswerError =>
  new VaultAnswerError(405, 'method.refused', `Here only: ${allow}.`, { allow });
