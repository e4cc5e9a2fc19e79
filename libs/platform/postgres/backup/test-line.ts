import type { BackupSource } from './source.js';
import type { BackupTransport } from './wire.js';

/** A line without a tunnel, for tests. */
export function bound(source: BackupSource): BackupTransport {
  return {
    begin: (request) => source.begin(request),
    manifest: (request) => source.manifest(request),
    hashes: (request) => source.hashes(request),
    read: (request, signal) => source.read(request, signal),
    finish: (request) => source.finish(request),
    end: (request) => source.end(request),
  };
}

/** A line that counts what crosses it, and breaks after so many bytes. */
export function cutting(source: BackupSource, cutAfter: number) {
  let bytes = 0;
  const transport: BackupTransport = {
    ...bound(source),
    hashes: async (request) => {
      const answer = await source.hashes(request);
      bytes += answer.hashes.flat().length * 27;
      return answer;
    },
    read: async (request, signal) => {
      const stream = await source.read(request, signal);
      return (async function* () {
        for await (const chunk of stream) {
          if (bytes + chunk.length > cutAfter) throw new Error('the line was cut');
          bytes += chunk.length;
          yield chunk;
        }
      })();
    },
  };
  return { transport, bytes: () => bytes };
}
