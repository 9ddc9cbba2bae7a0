/** `up` on a machine that knows nothing of a vault whose VMs are replicated: Temporal does, and no store is made for them. */
import { access, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Client } from '@temporalio/client';
import { defineSearchAttributeKey, TypedSearchAttributes } from '@temporalio/common';
import { expect, onTestFinished, test, vi } from 'vitest';
import { DataFolder } from '../../config/data-folder.js';
import { loadSite } from '../../config/site-file.js';
import { protectedItemId } from '../../domain/ids.js';
import { startInstance } from '../../instance/up.js';
import { connectTarget, connectTemporal } from '../../temporal/connection.js';
import { prepareTemporal } from '../../temporal/prepared-temporal.js';
import { runningProtections } from '../../temporal/running-protections.js';
import { startTestDevServer } from '../support/dev-server.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const siteText = `
vault: { name: v1, store: { kind: embedded, path: store } }
vmmServers: [{ name: vmm-1, clouds: [{ name: c, hosts: [{ name: h1 }] }] }]
vms: [{ name: db-01, host: h1, disks: [{ name: os, path: os.img }] }]
`;

test('no store is created while Temporal knows replicas of the vault', async () => {
  const folder = await temporaryFolder();
  await writeFile(path.join(folder, 'os.img'), '');
  await truncate(path.join(folder, 'os.img'), 1024 * 1024);
  await writeFile(path.join(folder, 'site.yaml'), siteText);
  const site = await loadSite(path.join(folder, 'site.yaml'), { disks: true });
  const { address, namespace, stop } = await startTestDevServer();
  onTestFinished(() => stop());
  const target = connectTarget({ address, namespace });
  await prepareTemporal(target, () => undefined);
  const connection = await connectTemporal(target);
  onTestFinished(() => connection.close());
  // No worker has to take it up.
  await new Client({ connection, namespace }).workflow.start('protectVm', {
    ...{ workflowId: protectedItemId('v1', 'db-01'), taskQueue: 'nobody' },
    typedSearchAttributes: new TypedSearchAttributes([
      { key: defineSearchAttributeKey('FarshoreVault', 'KEYWORD'), value: 'v1' },
    ]),
  });
  await expect.poll(() => runningProtections(connection, namespace, 'v1'), { timeout: 30_000 }).toEqual(['db-01']);

  vi.stubEnv('TEMPORAL_ADDRESS', address);
  vi.stubEnv('TEMPORAL_NAMESPACE', namespace);
  onTestFinished(() => void vi.unstubAllEnvs());
  const data = new DataFolder(path.join(folder, 'data'));
  const starting = startInstance({ data, site, onProgress: () => undefined }).then((running) => running.stop());
  await expect(starting).rejects.toMatchObject({
    code: 'KnownStoreMissing',
    detail: expect.stringMatching(/there is no store at .*, but Temporal knows replicas of db-01/) as string,
  });
  await expect(access(path.join(folder, 'store'))).rejects.toThrow('ENOENT');
  expect(await data.isHeld()).toBe(false);
});
