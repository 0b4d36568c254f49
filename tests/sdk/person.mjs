// An MCP client of a person, on the official SDK as it is, given nothing but the URL of a protected server.
//
//   person.mjs URL [CLIENT_ID_URL]
//
// Finds the authorization server, registers there (or is CLIENT_ID_URL), sends the person to $BROWSER, and takes the
// answer on a loopback port of its own. Then calls a tool, one that needs more than was granted at first, and the first
// again with an access token that the server no longer takes. Prints a JSON object per line. NODE_EXTRA_CA_CERTS names
// what is trusted beside the usual.

import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(join(process.env.LUMOAUTH_TEST_NODE, 'package.json'));
const { Client, StreamableHTTPClientTransport, UnauthorizedError } = require('@modelcontextprotocol/client');

const LIMIT = 120_000;
const [url, clientIdUrl] = process.argv.slice(2);
const say = (event, members = {}) => console.log(JSON.stringify({ event, ...members }));

// The loopback address that the browser is sent back to.
class Callback {
    constructor() {
        this.answers = [];
        this.server = createServer((request, response) => {
            response.end('You can close this page.\n');
            const target = new URL(request.url, this.url);
            if (target.pathname === '/callback') this.answers.push(target.searchParams);
        });
    }

    async listen() {
        this.server.listen(0, '127.0.0.1');
        await once(this.server, 'listening');
        this.url = `http://localhost:${this.server.address().port}/callback`;
    }

    // Sends the person to `target`, and gives what they came back with.
    async visit(target) {
        const [command, ...rest] = process.env.BROWSER.split(' ');
        const browser = spawn(command, [...rest, target], { stdio: ['ignore', 'pipe', 'inherit'], timeout: LIMIT });
        let printed = '';
        browser.stdout.on('data', part => { printed += part; });
        const [code] = await once(browser, 'close');
        if (code !== 0) throw new Error(`the browser: ${printed}`);
        const answer = this.answers.shift();
        if (!answer || answer.has('error')) throw new Error(`refused: ${answer}`);
        return answer;
    }
}

class Person {
    constructor(callback) {
        this.callback = callback;
        this.clientMetadataUrl = clientIdUrl;
    }
    get redirectUrl() { return this.callback.url; }
    get clientMetadata() {
        return {
            client_name: 'TypeScript Example Client',
            redirect_uris: [this.redirectUrl],
            grant_types: ['authorization_code', 'refresh_token'],
            token_endpoint_auth_method: 'none',
        };
    }
    state() { return (this.sent = randomUUID()); }
    clientInformation() { return this.client; }
    saveClientInformation(client) {
        if (client.client_id !== this.client?.client_id) say('client', { id: client.client_id });
        this.client = client;
    }
    tokens() { return this.held; }
    saveTokens(tokens) {
        say('tokens', { scope: tokens.scope, refresh: Boolean(tokens.refresh_token) });
        this.held = tokens;
    }
    saveCodeVerifier(verifier) { this.verifier = verifier; }
    codeVerifier() { return this.verifier; }
    saveDiscoveryState(state) { this.discovered = state; }
    discoveryState() { return this.discovered; }
    async redirectToAuthorization(target) {
        this.answer = await this.callback.visit(target.href);
        if (this.answer.get('state') !== this.sent) throw new Error('another state came back');
    }
}

async function recorded(input, init) {
    const response = await fetch(input, init);
    say('answer', { method: init?.method ?? 'GET', path: new URL(input.url ?? input).pathname, status: response.status });
    return response;
}

const callback = new Callback();
await callback.listen();
try {
    const person = new Person(callback);
    const options = { authProvider: person, fetch: recorded };
    let transport, client;
    const connect = async () => {
        transport = new StreamableHTTPClientTransport(new URL(url), options);
        client = new Client({ name: 'person', version: '1' });
        await client.connect(transport);
    };
    // What the SDK asks of an application: finish with what came back, then do again what was stopped.
    const authorized = async attempt => {
        try {
            return await attempt();
        } catch (error) {
            if (!(error instanceof UnauthorizedError)) throw error;
            await transport.finishAuth(person.answer);
            return attempt();
        }
    };
    await authorized(connect);
    say('tools', { names: (await client.listTools()).tools.map(tool => tool.name) });
    const call = async (name, args) => {
        const result = await authorized(() => client.callTool({ name, arguments: args }));
        say('called', { tool: name, text: result.content[0].text });
    };
    await call('search_invoices', { query: 'northwind' });
    await call('send_reminder', { invoice: 'INV-1001' });
    // As if the access token had ended: the SDK refreshes by itself.
    person.held = { ...person.held, access_token: 'ended' };
    await call('search_invoices', { query: 'contoso' });
    await client.close();
    say('done');
} catch (error) {
    say('failed', { reason: `${error?.name}: ${error?.message} ${error?.cause ?? ''}` });
    process.exitCode = 1;
} finally {
    callback.server.closeAllConnections();
    callback.server.close();
}
