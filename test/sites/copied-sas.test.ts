/** A SAS as people copy it from the portal, a shell or a mail. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { containerAccess } from '../../sites/azure-store/container-access.js';
import { sasEnd } from '../../sites/azure-store/credentials.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const URL_OF_STORE = 'https://contoso.blob.core.windows.net/vault';
const ENDS = '2999-01-01T00:00:00Z';
const token = (signature: string) => `sv=2024-11-04&sr=c&sp=rcwdl&se=${ENDS}&sig=${signature}`;
const encoded = token('a%2Bb%2Fc%3D');

const usedWith = async (FARSHORE_STORE_SAS: string) =>
  (await containerAccess(URL_OF_STORE, { FARSHORE_STORE_SAS })).client.url;

test.each([
  ['as it is', encoded],
  ['with its question mark', `?${encoded}`],
  ['with a bare plus in its signature', token('a+b/c=')],
  ['in quotes', `'${encoded}'`],
  ['in double quotes, with a line after', `"${encoded}"\n`],
  ['behind the address of the container', `${URL_OF_STORE}?${encoded}`],
  ['behind the address of the account', `"https://contoso.blob.core.windows.net/?${token('a+b/c=')}"`],
])('is the same %s', async (_what, copied) => {
  const { searchParams, origin, pathname } = new URL(await usedWith(copied));
  expect(origin + pathname).toBe(URL_OF_STORE);
  expect(searchParams.get('sig')).toBe('a+b/c=');
  expect(searchParams.get('sv')).toBe('2024-11-04');
  expect(sasEnd({ FARSHORE_STORE_SAS: copied })?.at).toBe(Date.parse(ENDS));
  const file = path.join(await temporaryFolder(), 'sas');
  await writeFile(file, copied);
  const { client } = await containerAccess(URL_OF_STORE, { FARSHORE_STORE_SAS_FILE: file });
  expect(new URL(client.url).searchParams.get('sig')).toBe('a+b/c=');
});

test('a SAS for another container is refused without showing its signature', async () => {
  const other = 'https://contoso.blob.core.windows.net/other';
  const error = await usedWith(`${other}?${encoded}`).catch((thrown: unknown) => thrown as Error);
  expect(error).toMatchObject({ code: 'AuthenticationFailed' });
  expect((error as Error).message).toContain(`a SAS of ${other}, but vault.store.url is ${URL_OF_STORE}`);
  expect((error as Error).message).not.toContain('sig');
});
