import { mkdir, readdir } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { siteSchema } from '../../domain/site.js';
import { DataFolder } from '../../config/data-folder.js';
import { storeAccessOf } from '../../doctor/store.js';
import { temporaryFolder } from '../support/temporary-folder.js';

test('nothing is written into the empty folder of a store that is not mounted', async () => {
  const folder = await temporaryFolder();
  const store = path.join(folder, 'store');
  await mkdir(store);
  const site = siteSchema.parse({
    vault: { name: 'v1', store: { kind: 'embedded', path: store } },
    vmmServers: [{ name: 'vmm', clouds: [{ name: 'c1', hosts: [{ name: 'h1' }] }] }],
    vms: [],
  });
  const access = storeAccessOf(site, new DataFolder(path.join(folder, 'data')));
  await expect(access.touch!()).rejects.toMatchObject({ code: 'ENOENT' });
  expect(await readdir(store)).toEqual([]);
});
