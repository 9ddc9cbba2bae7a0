/** The codec server over HTTP, as a page of the Web UI and a program on the machine ask it. */
import { request } from 'node:http';
import { join } from 'node:path';
import { defaultPayloadConverter, type Payload } from '@temporalio/common';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { EncryptionCodec } from '../../../temporal/encryption/codec.js';
import { CodecServer } from '../../../temporal/encryption/codec-server.js';
import { KeyRing } from '../../../temporal/encryption/key-ring.js';
import { newKey, writeKeyFile } from '../../support/key-files.js';
import { temporaryFolder } from '../../support/temporary-folder.js';

const UI = 'http://127.0.0.1:8233';

let codec: EncryptionCodec;
let url: string;
beforeEach(async () => {
  const file = join(await temporaryFolder(), 'keys.yaml');
  await writeKeyFile(file, 'a', { a: newKey() });
  codec = new EncryptionCodec(await KeyRing.open(file));
  const server = await CodecServer.listen({ codec, port: 0, allows: (origin) => origin === UI });
  onTestFinished(() => server.close());
  url = server.url;
});

interface JsonPayload {
  readonly metadata: Record<string, string>;
  readonly data: string;
}
const jsonOf = ({ metadata, data }: Payload): JsonPayload => ({
  metadata: Object.fromEntries(
    Object.entries(metadata!).map(([name, bytes]) => [name, Buffer.from(bytes).toString('base64')]),
  ),
  data: Buffer.from(data ?? []).toString('base64'),
});
const plain = jsonOf(defaultPayloadConverter.toPayload({ vm: 'db-01' })!);

const post = (way: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(`${url}${way}`, {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    headers: { 'content-type': 'application/json', ...headers },
  });
const payloadsOf = async (response: Response): Promise<JsonPayload[]> =>
  ((await response.json()) as { payloads: JsonPayload[] }).payloads;

test('listens on loopback', () => {
  expect(new URL(url).hostname).toBe('127.0.0.1');
});

test('encodes, and decodes to the original', async () => {
  const [encoded] = await payloadsOf(await post('/encode', { payloads: [plain] }));
  expect(Buffer.from(encoded!.metadata['encoding']!, 'base64').toString()).toBe('binary/encrypted');
  expect(JSON.stringify(encoded)).not.toContain(plain.data);
  // As the Web UI asks: with the namespace, and payloads that are not encrypted among them.
  const headers = { origin: UI, 'x-namespace': 'farshore' };
  const response = await post('/decode', { payloads: [encoded, plain] }, headers);
  expect(response.status).toBe(200);
  expect(response.headers.get('access-control-allow-origin')).toBe(UI);
  expect(await payloadsOf(response)).toEqual([plain, plain]);
});

test('decodes payloads without data, and an empty list', async () => {
  const none = jsonOf(defaultPayloadConverter.toPayload(undefined)!);
  const [encoded] = await payloadsOf(await post('/encode', { payloads: [{ metadata: none.metadata }] }));
  expect(await payloadsOf(await post('/decode', { payloads: [encoded] }))).toEqual([none]);
  expect(await payloadsOf(await post('/decode', {}))).toEqual([]);
});

test('accepts pages of the Web UI, and no others', async () => {
  const preflight = (origin: string) =>
    fetch(`${url}/decode`, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'content-type,x-namespace',
      },
    });
  const allowed = await preflight(UI);
  expect(allowed.status).toBe(204);
  expect(Object.fromEntries(allowed.headers)).toMatchObject({
    'access-control-allow-origin': UI,
    'access-control-allow-methods': 'POST',
    'access-control-allow-headers': 'content-type,x-namespace',
    vary: 'origin',
  });
  for (const origin of ['http://127.0.0.1:8234', 'https://evil.example', 'null']) {
    for (const refused of [await preflight(origin), await post('/decode', { payloads: [] }, { origin })]) {
      expect(refused.status).toBe(403);
      expect(refused.headers.get('access-control-allow-origin')).toBeNull();
    }
  }
});

test.each([
  ['no JSON', '{"payloads": [db-01', /not JSON/],
  ['no list', { payloads: 'db-01' }, /expected array/],
  ['data that is no base64', { payloads: [{ ...plain, data: '*' }] }, /base64/],
])('refuses %s, and does not repeat it', async (_what, body, message) => {
  const response = await post('/decode', body);
  expect(response.status).toBe(400);
  const said = await response.text();
  expect(said).toMatch(message);
  expect(said).not.toContain('db-01');
});

test('reports payloads that cannot be decrypted', async () => {
  const [encoded] = await payloadsOf(await post('/encode', { payloads: [plain] }));
  const metadata = { ...encoded!.metadata, 'encryption-key-id': Buffer.from('gone').toString('base64') };
  const response = await post('/decode', { payloads: [{ ...encoded, metadata }] });
  expect(response.status).toBe(400);
  expect(await response.text()).toMatch(/encrypted with key gone, which .* does not have; it has: a/);
});

test('supports two paths, with POST', async () => {
  expect((await post('/other', { payloads: [] })).status).toBe(404);
  expect((await fetch(`${url}/decode`)).status).toBe(404);
});

test('refuses a request that is too large', async () => {
  const status = await new Promise<number>((resolve, reject) => {
    const call = request(`${url}/decode`, { method: 'POST' }, (response) => {
      resolve(response.statusCode!);
      response.resume();
    });
    call.on('error', reject);
    const piece = Buffer.alloc(1024 * 1024, 'x');
    for (let sent = 0; sent <= 64; sent += 1) call.write(piece);
    call.end();
  });
  expect(status).toBe(413);
});
