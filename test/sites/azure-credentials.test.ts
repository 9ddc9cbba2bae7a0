/** A SAS that ends, or does not begin, while a process runs: a file is read again, and what is refused says why. */
import { randomUUID } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BlobServiceClient, ContainerSASPermissions } from '@azure/storage-blob';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { Azurite } from '../../client/demo/azurite.js';
import { failureCatalogue } from '../../domain/errors.js';
import { openAzureStore } from '../../sites/azure-store/store-access.js';
import { failsWith } from '../support/fails-with.js';
import { sasFor } from '../support/store-sas.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { readPages } from '../support/read-pages.js';

const QUICK = { timeoutMs: 5_000, tries: 2, firstDelayMs: 1, longestDelayMs: 100 };
const HOUR_MS = 60 * 60_000;
const permissions = ContainerSASPermissions.parse('rcwdl');
const NOW = { scope: 'vms/db-01', epoch: 1, sequence: 0 };
const BLOB = 'vms/db-01/disks/os.vhd';

let azurite: Azurite;
beforeAll(async () => {
  azurite = await Azurite.start();
});
afterAll(() => azurite.stop());

const open = (environment: Record<string, string>, create = false) =>
  openAzureStore(url, { create, limits: QUICK }, environment);

let url: string;
beforeEach(async () => {
  url = `${azurite.url}/vault-${randomUUID()}`;
  await (await open({ FARSHORE_STORE_CONNECTION_STRING: azurite.connectionString() }, true)).close();
});

/** A SAS that serves until `revoke` is called, which only the service knows of. */
async function revocable(): Promise<{ token: string; revoke: () => Promise<void> }> {
  const container = BlobServiceClient.fromConnectionString(azurite.connectionString()).getContainerClient(
    url.split('/').at(-1)!,
  );
  const ends = new Date(Date.now() + HOUR_MS);
  const policy = { startsOn: new Date(Date.now() - HOUR_MS), expiresOn: ends, permissions: 'rcwdl' };
  await container.setAccessPolicy(undefined, [{ id: 'worker', accessPolicy: policy }]);
  const revoke = async () => void (await container.setAccessPolicy());
  return { token: sasFor(url, { identifier: 'worker' }), revoke };
}

const fresh = () => sasFor(url, { permissions, expiresOn: new Date(Date.now() + HOUR_MS) });
const signature = (token: string) => new URLSearchParams(token).get('sig')!;

describe('a file is read again when the service refuses the credentials in it', () => {
  test.each([
    ['FARSHORE_STORE_SAS_FILE', (token: string) => token],
    [
      'FARSHORE_STORE_CONNECTION_STRING_FILE',
      (token: string) => `BlobEndpoint=${azurite.url};SharedAccessSignature=${token}`,
    ],
  ])('%s', async (name, contentFor) => {
    const file = join(await temporaryFolder(), 'secret');
    const { token, revoke } = await revocable();
    await writeFile(file, contentFor(token));
    const store = await open({ [name]: file });
    await store.pageBlobs.create(BLOB, 4096, NOW);
    await revoke();
    const error = await failsWith('AuthenticationFailed', store.objects.readFence(NOW.scope));
    expect(error.detail).toContain(file);

    await writeFile(file, `${contentFor(fresh())}\n`);
    // Side by side: whoever is late finds it renewed.
    await Promise.all([
      store.pageBlobs.write(BLOB, [{ offset: 0, data: Buffer.alloc(512, 7) }], NOW),
      readPages(store.pageBlobs, BLOB, 0, 512),
      store.pageBlobs.ranges(BLOB, { offset: 0, length: 4096 }),
      store.objects.list(''),
    ]);
    await store.objects.upload('vms/db-01/applied.json', chunks(), NOW);
    expect(await readPages(store.pageBlobs, BLOB, 0, 512)).toEqual(Buffer.alloc(512, 7));
    await store.close();
  });

  test('unusable credentials are reported and replace nothing', async () => {
    const file = join(await temporaryFolder(), 'sas');
    const { token, revoke } = await revocable();
    await writeFile(file, token);
    const store = await open({ FARSHORE_STORE_SAS_FILE: file });
    await store.objects.raiseFence(NOW);
    const read = () => store.objects.readFence(NOW.scope);
    const fence = { epoch: 1, sequence: 0 };
    await writeFile(file, '');
    expect(await read()).toEqual(fence);
    await revoke();
    expect((await failsWith('AuthenticationFailed', read())).detail).toContain(
      `${file} (FARSHORE_STORE_SAS_FILE) is empty`,
    );
    await rm(file);
    expect((await failsWith('AuthenticationFailed', read())).detail).toMatch(/can't be read: ENOENT/);
    const ended = sasFor(url, { permissions, expiresOn: new Date(Date.now() - HOUR_MS) });
    await writeFile(file, ended);
    const error = await failsWith('AuthenticationFailed', read());
    expect(error.detail).toMatch(/has expired at .*put a new one in that file, then run `farshore retry`/);
    expect(error.message).not.toContain(signature(ended));
    await writeFile(file, fresh());
    expect(await read()).toEqual(fence);
    await store.close();
  });
});

describe('a SAS that is refused because of its times says so', () => {
  /** This process takes it for another time; the service does not. */
  function clockOfThisProcess(ms: number): void {
    vi.useFakeTimers({ now: ms, toFake: ['Date'] });
    onTestFinished(() => void vi.useRealTimers());
  }

  test('a SAS that has expired in the meantime', async () => {
    const expiresOn = new Date(Date.now() - HOUR_MS);
    const token = sasFor(url, { permissions, expiresOn });
    clockOfThisProcess(Date.now() - 2 * HOUR_MS);
    const error = await failsWith('AuthenticationFailed', open({ FARSHORE_STORE_SAS: token }));
    const ended = `${expiresOn.toISOString().slice(0, 19)}.000Z`;
    expect(error.detail).toContain(
      `the SAS of FARSHORE_STORE_SAS has expired at ${ended}: put a new one in that variable, then restart the worker`,
    );
    expect(error.detail).toContain(`${url} (vault.store.url`);
    expect(error.message).not.toContain(signature(token));
    expect(failureCatalogue[error.code]).toMatchObject({ class: 'nonRecoverable' });
    expect(failureCatalogue[error.code].remedy).toMatch(
      /run `farshore retry`; if they are in an environment variable, restart the worker/,
    );
  });

  test('a SAS that is not valid yet', async () => {
    const token = sasFor(url, {
      permissions,
      startsOn: new Date(Date.now() + HOUR_MS),
      expiresOn: new Date(Date.now() + 2 * HOUR_MS),
    });
    const error = await failsWith('AuthenticationFailed', open({ FARSHORE_STORE_SAS: token }));
    expect(error.detail).toMatch(
      /SAS of FARSHORE_STORE_SAS is not valid before \S+Z; the clock of this machine shows \S+Z, .*: correct the clocks, or put a SAS that begins earlier/,
    );
    expect(error.message).not.toContain(signature(token));
  });

  test("a SAS that is in the future only by this machine's clock is accepted", async () => {
    const token = sasFor(url, {
      permissions,
      startsOn: new Date(Date.now() - HOUR_MS),
      expiresOn: new Date(Date.now() + HOUR_MS),
    });
    clockOfThisProcess(Date.now() - 2 * HOUR_MS);
    await (await open({ FARSHORE_STORE_SAS: token })).close();
  });
});

async function* chunks(): AsyncGenerator<Buffer> {
  yield Buffer.from('{}');
}
