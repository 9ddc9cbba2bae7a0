import { expect, it } from 'vitest';
import { accountUrlOf, containerOf, storeAddressSchema } from '../../domain/store-address.js';

const CONTAINER = 'https://acme.blob.core.windows.net/vault-01';

it.each([
  CONTAINER,
  'http://127.0.0.1:10000/devstoreaccount1/vault-01',
  'https://[::1]/abc',
  'https://blobs.acme.example/vault-01',
  'https://storage.acme.example/acme/vault-01',
  'https://acme.z12.blob.storage.azure.net/vault-01',
])('takes the address %s', (url) => {
  expect(storeAddressSchema.parse({ kind: 'azure', url })).toEqual({ kind: 'azure', url });
  expect(`${accountUrlOf(url)}/${containerOf(url)}`).toBe(url);
});

it.each([
  ['', 'https://ACCOUNT.blob'],
  ['vault-01', 'https://ACCOUNT.blob'],
  [`${CONTAINER}?sv=2025&sig=c2VjcmV0`, 'FARSHORE_STORE_SAS'],
  ['https://acme:c2VjcmV0@acme.blob.core.windows.net/vault-01', 'FARSHORE_STORE_SAS'],
  ['http://acme.blob.core.windows.net/vault-01', 'use https'],
  ['ftp://127.0.0.1/vault-01', 'use https'],
  ['https://acme.blob.core.windows.net', 'name of a container'],
  ['https://acme.blob.core.windows.net/', 'name of a container'],
  [`${CONTAINER}/`, 'name of a container'],
  ['https://acme.blob.core.windows.net/Vault', 'name of a container'],
  ['https://acme.blob.core.windows.net/a--b', 'name of a container'],
  ['https://acme.blob.core.windows.net/ab', 'name of a container'],
  [`${CONTAINER}/sub`, 'https://ACCOUNT.blob.core.windows.net/CONTAINER'],
  ['https://acme.blob.core.windows.net//vault-01', 'https://ACCOUNT.blob.core.windows.net/CONTAINER'],
  ['https://acme.blob.core.chinacloudapi.cn/acme/vault-01', 'only the name of a container'],
  ['http://127.0.0.1:10000/devstoreaccount1/vault-01/sub', 'ACCOUNT/CONTAINER'],
  ['http://127.0.0.1:10000//vault-01', 'ACCOUNT/CONTAINER'],
])('refuses %s, says what is wanted, and repeats no secret', (url, wanted) => {
  const { error } = storeAddressSchema.safeParse({ kind: 'azure', url });
  expect(error?.issues).toMatchObject([{ path: ['url'], message: expect.stringContaining(wanted) }]);
  expect(JSON.stringify(error?.issues)).not.toContain('c2VjcmV0');
});
