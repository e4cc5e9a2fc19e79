import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { AGENT_AUTHORIZATION_SCHEME, agentProof, type AgentAssignment } from '#contracts/sites';
import { verifyDocument } from '#libs/link';

/** The three questions that an agent asks a control plane, answered as the API answers them; for tests of the agent. */
export class AgentControl {
  /** Of the agent that enrolled last. */
  publicKey = '';
  /** The next enrolment is carried out, and its answer lost on the way. */
  loseNextAnswer = false;
  private readonly server: Server;

  constructor(
    private readonly token: string,
    private readonly assignment: () => AgentAssignment,
  ) {
    this.server = createServer((request, response) => void this.answer(request, response));
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.server.closeAllConnections();
    this.server.close();
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const [status, body] = this.reply(request, Buffer.concat(chunks).toString('utf8'));
    if (status === 0) {
      response.destroy();
      return;
    }
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  }

  private reply(request: IncomingMessage, text: string): [number, object] {
    if (request.url === '/v1/agents/enrol') return this.enrol(JSON.parse(text) as { token: string; publicKey: string });
    if (request.url === '/v1/agents/challenge') return [200, { challenge: 'c'.repeat(20), expiresInSeconds: 60 }];
    if (request.url !== '/v1/agents/self') return [404, {}];
    const [scheme, proof = ''] = (request.headers.authorization ?? '').split(' ');
    const [id = '', challenge = '', signature = ''] = proof.split(':');
    const document = agentProof(id, challenge, request.url);
    const genuine = scheme === AGENT_AUTHORIZATION_SCHEME && verifyDocument(document, signature, this.publicKey);
    return genuine ? [200, this.assignment()] : [401, { detail: 'The agent could not prove itself.' }];
  }

  private enrol(body: { token: string; publicKey: string }): [number, object] {
    if (body.token !== this.token)
      return [401, { title: 'Unknown', detail: 'This token is not known: make a new one.' }];
    this.publicKey = body.publicKey;
    const lost = this.loseNextAnswer;
    this.loseNextAnswer = false;
    return lost ? [0, {}] : [200, this.assignment()];
  }
}
