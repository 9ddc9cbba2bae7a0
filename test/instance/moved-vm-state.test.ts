import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { siteSchema } from '../../domain/site.js';
import { DataFolder } from '../../config/data-folder.js';
import { moveVmStates } from '../../instance/moved-vm-state.js';
import { temporaryFolder } from '../support/temporary-folder.js';

test('a VM takes its power state, fence and snapshot along to another host, and existing state is never replaced', async () => {
  const data = new DataFolder(await temporaryFolder());
  const site = (host: string) =>
    siteSchema.parse({
      vault: { name: 'v', store: { kind: 'embedded', path: 'store' } },
      vmmServers: [{ name: 'vmm', clouds: [{ name: 'c', hosts: [{ name: 'h1' }, { name: 'h2' }] }] }],
      vms: [{ name: 'db-01', host, disks: [{ name: 'os', path: 'os.img' }] }],
    });
  const file = (host: string) => path.join(data.hypervisorState(host), 'db-01.json');
  const read = (host: string) => readFile(file(host), 'utf8').catch(() => undefined);
  await moveVmStates(site('h1'), data);
  expect(await read('h1')).toBeUndefined();
  await mkdir(data.hypervisorState('h1'), { recursive: true });
  await writeFile(file('h1'), 'off, fenced');
  await moveVmStates(site('h1'), data);
  expect(await read('h1')).toBe('off, fenced');
  for (let again = 0; again < 2; again += 1) await moveVmStates(site('h2'), data);
  expect([await read('h1'), await read('h2')]).toEqual([undefined, 'off, fenced']);
  await writeFile(file('h1'), 'older');
  await moveVmStates(site('h2'), data);
  expect([await read('h1'), await read('h2')]).toEqual(['older', 'off, fenced']);
});
