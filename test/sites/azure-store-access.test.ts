/** Wrong credentials, places and clocks: each says which, where it was configured, and what to do. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { BlobServiceClient, ContainerSASPermissions } from '@azure/storage-blob';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { Azurite } from '../../client/demo/azurite.js';
import { failureCatalogue } from '../../domain/errors.js';
import { openAzureStore, serviceTime } from '../../sites/azure-store/store-access.js';
import { failsWith } from '../support/fails-with.js';
import { makeCertificates } from '../support/certificates.js';
import { account, key, sasFor } from '../support/store-sas.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const QUICK = { timeoutMs: 5_000, tries: 2, firstDelayMs: 1, longestDelayMs: 100 };
const DAY_MS = 24 * 60 * 60_000;

let azurite: Azurite;
beforeAll(async () => {
  azurite = await Azurite.start();
});
afterAll(() => azurite.stop());

const newUrl = () => `${azurite.url}/vault-${randomUUID()}`;
const byKey = () => ({ FARSHORE_STORE_CONNECTION_STRING: azurite.connectionString() });
const open = (url: string, environment: Record<string, string>, create = false) =>
  openAzureStore(url, { create, limits: QUICK }, environment);

const sas = (url: string, permissions: string, expiresOn: Date): string =>
  sasFor(url, { permissions: ContainerSASPermissions.parse(permissions), expiresOn });

/** A service that answers everything alike. @returns its address, as of a container. */
async function stubbornService(status: number, headers: http.OutgoingHttpHeaders, body = ''): Promise<string> {
  const server = http.createServer((_, response) => response.writeHead(status, headers).end(body));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(async () => {
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/${account}/vault-01`;
}

const keyFor = (url: string) => ({
  FARSHORE_STORE_CONNECTION_STRING: `AccountName=${account};AccountKey=${key};BlobEndpoint=${url.slice(0, url.lastIndexOf('/'))}`,
});

describe('accepted credentials', () => {
  test('a connection string, by itself or in a file', async () => {
    const url = newUrl();
    await (await open(url, byKey(), true)).close();
    const file = join(await temporaryFolder(), 'connection-string');
    await writeFile(file, `${azurite.connectionString()}\n`, { mode: 0o600 });
    await (await open(url, { FARSHORE_STORE_CONNECTION_STRING_FILE: file })).close();
  });

  test('a SAS for the container, with only the permissions that the store needs', async () => {
    const url = newUrl();
    await (await open(url, byKey(), true)).close();
    const store = await open(url, { FARSHORE_STORE_SAS: sas(url, 'rcwdl', new Date(Date.now() + DAY_MS)) });
    const fence = { scope: 'vms/db-01', epoch: 1, sequence: 0 };
    const blob = 'vms/db-01/disks/os.vhd';
    await store.pageBlobs.create(blob, 4096, fence);
    await store.pageBlobs.write(blob, [{ offset: 0, data: Buffer.alloc(512, 7) }], fence);
    const snapshot = await store.pageBlobs.snapshot(blob, fence);
    await store.objects.raiseFence({ ...fence, sequence: 1 });
    await store.pageBlobs.deleteSnapshot(blob, snapshot, { ...fence, sequence: 1 });
    await store.objects.put('vms/db-01/applied.json', Buffer.from('{}'), { ...fence, sequence: 1 });
    expect(await store.objects.list('')).toEqual(['vms/db-01/applied.json']);
    await store.pageBlobs.delete(blob, { ...fence, sequence: 1 });
    const time = await serviceTime(url, { FARSHORE_STORE_SAS: sas(url, 'rcwdl', new Date(Date.now() + DAY_MS)) });
    expect(Math.abs(time - Date.now())).toBeLessThan(60_000);
    await store.close();
  });
});

describe('refusals before any request to the service', () => {
  const url = 'https://acme.blob.core.windows.net/vault-01';
  const ofAcme = (rest: string) => `AccountName=acme;EndpointSuffix=core.windows.net;${rest}`;
  test.each<[string, Record<string, string>, 'AuthenticationFailed' | 'AuthorizationFailed', RegExp]>([
    [
      'two kinds of credentials',
      { FARSHORE_STORE_SAS: 'sig=x', FARSHORE_STORE_CONNECTION_STRING: ofAcme('AccountKey=eA==') },
      'AuthenticationFailed',
      /FARSHORE_STORE_CONNECTION_STRING and FARSHORE_STORE_SAS are both given/,
    ],
    [
      'one kind twice',
      { FARSHORE_STORE_SAS: 'sig=x', FARSHORE_STORE_SAS_FILE: '/etc/sas' },
      'AuthenticationFailed',
      /FARSHORE_STORE_SAS and FARSHORE_STORE_SAS_FILE are both set/,
    ],
    ['none at all', {}, 'AuthenticationFailed', /no credentials for .*set FARSHORE_STORE_SAS/],
    [
      'a file that is not there',
      { FARSHORE_STORE_SAS_FILE: '/nowhere/sas' },
      'AuthenticationFailed',
      /\/nowhere\/sas .*FARSHORE_STORE_SAS_FILE.*ENOENT/,
    ],
    [
      'a SAS without a signature',
      { FARSHORE_STORE_SAS: 'sv=2025-01-05&sp=rcwdl' },
      'AuthenticationFailed',
      /no signature/,
    ],
    [
      'a SAS that has expired',
      { FARSHORE_STORE_SAS: '?sv=2025-01-05&sp=rcwdl&se=2025-02-03T00:00:00Z&sig=c2VjcmV0' },
      'AuthenticationFailed',
      /SAS of FARSHORE_STORE_SAS has expired at 2025-02-03T00:00:00.000Z: put a new one/,
    ],
    [
      'a SAS that allows too little',
      { FARSHORE_STORE_SAS: 'sv=2025-01-05&sp=rl&se=2099-02-03T00:00:00Z&sig=c2VjcmV0' },
      'AuthorizationFailed',
      /lacks the permissions to write, delete: make a SAS with sp=rcwdl/,
    ],
    [
      'the key of another account',
      { FARSHORE_STORE_CONNECTION_STRING: 'AccountName=other;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net' },
      'AuthenticationFailed',
      /https:\/\/other\.blob\.core\.windows\.net, but vault\.store\.url to https:\/\/acme\.blob\.core\.windows\.net/,
    ],
    [
      'a connection string cut short',
      { FARSHORE_STORE_CONNECTION_STRING: 'AccountName=acme;DefaultEndpointsProtocol=https' },
      'AuthenticationFailed',
      /neither AccountName and AccountKey nor SharedAccessSignature/,
    ],
  ])('%s', async (what, environment, code, said) => {
    const place = what === 'none at all' ? `${azurite.url}/vault-01` : url;
    const error = await failsWith(code, open(place, environment));
    expect(error.detail).toMatch(said);
    expect(error.message).not.toContain('c2VjcmV0');
  });
});

describe('refusals by the service', () => {
  test('no credentials: this machine has no identity', async () => {
    const identity = vi
      .spyOn((await import('@azure/identity')).DefaultAzureCredential.prototype, 'getToken')
      .mockRejectedValue(
        Object.assign(new Error('tried seven ways\nEnvironmentCredential: …'), {
          name: 'AggregateAuthenticationError',
        }),
      );
    onTestFinished(() => identity.mockRestore());
    const error = await failsWith('AuthenticationFailed', open('https://127.0.0.1:9/acme/vault-01', {}));
    expect(error.detail).toMatch(/identity of this machine.*no credentials were found: set FARSHORE_STORE_SAS/);
  });

  test('a wrong key: not recoverable, and names the key that was used', async () => {
    const url = newUrl();
    const wrong = azurite.connectionString().replace(key, Buffer.alloc(64, 9).toString('base64'));
    const error = await failsWith('AuthenticationFailed', open(url, { FARSHORE_STORE_CONNECTION_STRING: wrong }, true));
    expect(error.detail).toContain(`${url} (vault.store.url; credentials: FARSHORE_STORE_CONNECTION_STRING)`);
    expect(failureCatalogue[error.code].class).toBe('nonRecoverable');
    expect(error.message).not.toContain(Buffer.alloc(64, 9).toString('base64'));
  });

  test('a container that does not exist, is not a store, or holds other data', async () => {
    const url = newUrl();
    const missing = await failsWith('StoreNotFound', open(url, byKey()));
    expect(missing.detail).toContain(url);
    expect(failureCatalogue.StoreNotFound.remedy).toContain('vault.store');
    const service = BlobServiceClient.fromConnectionString(azurite.connectionString());
    const container = service.getContainerClient(url.split('/').at(-1)!);
    await container.create();
    expect((await failsWith('StoreNotFound', open(url, byKey()))).detail).toContain('holds no store');
    await container.getBlockBlobClient('thesis.txt').upload('x', 1);
    expect((await failsWith('StoreNotFound', open(url, byKey(), true))).detail).toContain('thesis.txt');
  });

  test('an account of another kind', async () => {
    const url = newUrl();
    const info = vi
      .spyOn((await import('@azure/storage-blob')).ContainerClient.prototype, 'getAccountInfo')
      .mockResolvedValue({ accountKind: 'BlockBlobStorage', skuName: 'Premium_LRS' } as never);
    onTestFinished(() => info.mockRestore());
    const error = await failsWith('StoreUnsuitable', open(url, byKey(), true));
    expect(error.detail).toContain('BlockBlobStorage, Premium_LRS');
  });

  test('a clock that is far off', async () => {
    const url = await stubbornService(403, {
      'x-ms-error-code': 'AuthenticationFailed',
      date: new Date(Date.now() - 3 * 60 * 60_000).toUTCString(),
    });
    const error = await failsWith('AuthenticationFailed', open(url, keyFor(url)));
    expect(error.detail).toMatch(/the clock of this machine is 180 minutes ahead of the service's: correct it/);
  });

  test.each([
    [403, 'AuthorizationPermissionMismatch', 'AuthorizationFailed'],
    [403, 'KeyBasedAuthenticationNotPermitted', 'AuthorizationFailed'],
    [409, 'FeatureNotSupportedForAccount', 'StoreUnsuitable'],
    [503, 'ServerBusy', 'StoreUnreachable'],
    [500, 'InternalError', 'StoreUnreachable'],
    [429, 'TooManyRequests', 'StoreUnreachable'],
  ] as const)('%s %s is %s', async (status, said, code) => {
    const url = await stubbornService(status, { 'x-ms-error-code': said });
    expect((await failsWith(code, open(url, keyFor(url)))).detail).toContain(url);
  });

  test('an address where nothing listens: recoverable', async () => {
    const url = `http://127.0.0.1:9/${account}/vault-01`;
    const error = await failsWith('StoreUnreachable', open(url, keyFor(url)));
    expect(error.detail).toMatch(/ECONNREFUSED/);
    expect(failureCatalogue[error.code].class).toBe('recoverable');
  });

  test('unusable TLS: an untrusted certificate, or no TLS at all', async () => {
    const folder = await temporaryFolder();
    const { server } = makeCertificates(folder, ['IP:127.0.0.1']);
    const secure = await Azurite.start({ tls: server });
    onTestFinished(() => secure.stop());
    const untrusted = `${secure.url}/vault-01`;
    const error = await failsWith('TlsMismatch', open(untrusted, keyFor(untrusted), true));
    expect(error.detail).toContain(untrusted);
    expect(failureCatalogue.TlsMismatch.remedy).toContain('NODE_EXTRA_CA_CERTS');
    const plain = newUrl().replace('http:', 'https:');
    await failsWith('TlsMismatch', open(plain, keyFor(plain), true));
  });
});
