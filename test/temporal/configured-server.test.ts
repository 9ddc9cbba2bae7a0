/** What the environment says of reaching Temporal gets to every connection, and never to another server. */
import { readdir, readFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { makeSite, Shell } from '../client/command.js';
import { configuredServer } from '../../temporal/configured-server.js';
import { connectTarget } from '../../temporal/connection.js';
import { temporaryFolder } from '../support/temporary-folder.js';

/** What a certificate file holds: nobody checks it before there is a server. */
const pem = { certificate: '-----BEGIN CERTIFICATE-----\n', key: '-----BEGIN PRIVATE KEY-----\n', ca: 'ca' };
const bytes = (text: string) => Uint8Array.from(Buffer.from(text));

describe('the server that the environment configures', () => {
  let shell: Shell;
  beforeEach(async () => {
    shell = new Shell(await temporaryFolder());
  });

  test('has connection options with TLS, certificates and API key', async () => {
    await shell.write('client.pem', pem.certificate);
    await shell.write('client.key', pem.key);
    await shell.write('ca.pem', pem.ca);
    const env = {
      TEMPORAL_ADDRESS: 'temporal.example:7233',
      TEMPORAL_NAMESPACE: 'recovery',
      TEMPORAL_TLS_CLIENT_CERT_PATH: join(shell.folder, 'client.pem'),
      TEMPORAL_TLS_CLIENT_KEY_PATH: join(shell.folder, 'client.key'),
      TEMPORAL_TLS_SERVER_CA_CERT_PATH: join(shell.folder, 'ca.pem'),
      TEMPORAL_TLS_SERVER_NAME: 'frontend.example',
    };
    expect(configuredServer(env)).toMatchObject({
      namespace: 'recovery',
      connectionOptions: {
        address: 'temporal.example:7233',
        tls: {
          serverNameOverride: 'frontend.example',
          serverRootCACertificate: bytes(pem.ca),
          clientCertPair: { crt: bytes(pem.certificate), key: bytes(pem.key) },
        },
      },
    });
    const { connectionOptions } = configuredServer({ TEMPORAL_ADDRESS: 'h:1', TEMPORAL_API_KEY: 'k' })!;
    expect(connectionOptions).toMatchObject({ address: 'h:1', apiKey: 'k', tls: true });
    expect(configuredServer({ TEMPORAL_ADDRESS: 'h:1', TEMPORAL_TLS: 'true' })!.connectionOptions.tls).toBeTruthy();
  });

  test('is undefined without an address, whatever else is set', () => {
    expect(configuredServer({ TEMPORAL_TLS: 'true', TEMPORAL_API_KEY: 'k' })).toBeUndefined();
    // Of a server that is named otherwise, nothing is taken from the environment.
    expect(connectTarget({ address: '127.0.0.1:1' })).toMatchObject({
      ...{ address: '127.0.0.1:1', namespace: 'farshore' },
      connectionOptions: {},
    });
  });

  test.each([
    ['a command', ['status']],
    ['a worker', ['worker', '--role', 'vmm', '--name', 'vmm-1']],
    ['up', ['up']],
  ])('%s then uses TLS, for the server of that name', async (_what, args) => {
    await makeSite(shell);
    const heard = await firstBytes();
    const address = `127.0.0.1:${heard.port}`;
    const env = {
      TEMPORAL_ADDRESS: address,
      TEMPORAL_TLS: 'true',
      TEMPORAL_TLS_SERVER_NAME: 'frontend.example',
      TEMPORAL_API_KEY: 'not-to-be-shown',
      FARSHORE_DEBUG: '1',
    };
    const { code, stdout, stderr } = await new Shell(shell.folder, env).runAlone(...args);
    expect(stderr).toContain(address);
    expect(stdout + stderr).not.toContain('not-to-be-shown');
    expect(code).toBe(3);
    const hello = await heard.bytes;
    // A handshake, in which the name stands readably.
    expect(hello[0]).toBe(0x16);
    expect(hello.toString('latin1')).toContain('frontend.example');
  });
});

test('the environment is read in one place, whose result all connections use', async () => {
  const root = join(import.meta.dirname, '../..');
  const { include } = JSON.parse(await readFile(join(root, 'tsconfig.json'), 'utf8')) as { include: string[] };
  const calls: string[] = [];
  for (const room of include) {
    for (const file of await readdir(join(root, room), { recursive: true })) {
      if (!file.endsWith('.ts')) continue;
      const text = await readFile(join(root, room, file), 'utf8');
      for (const [call] of text.matchAll(/(?:loadClientConnectConfig|Connection\.(?:connect|lazy))\([\w.{ ]+/g))
        calls.push(`${room}/${file}: ${call}`);
    }
  }
  expect(calls.toSorted()).toEqual([
    'temporal/configured-server.ts: loadClientConnectConfig({ overrideEnvVars',
    'temporal/connection.ts: Connection.connect({',
    // To the server that was just started.
    'temporal/server/dev-server.ts: Connection.connect({ address',
    'workers/lost-activities.ts: Connection.lazy(connectionOptions',
    'workers/worker-version.ts: Connection.lazy(connectionOptions',
    'workers/worker.ts: Connection.connect({ ...connectionOptions',
  ]);
});

/** A server that hangs up on whoever has said something. */
async function firstBytes(): Promise<{ readonly port: number; readonly bytes: Promise<Buffer> }> {
  const server = createServer();
  const bytes = new Promise<Buffer>((resolve) => {
    server.on('connection', (socket) => {
      socket.on('error', () => undefined);
      socket.once('data', (data) => {
        resolve(data);
        socket.destroy();
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return { port: (server.address() as AddressInfo).port, bytes };
}
