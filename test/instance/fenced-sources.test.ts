import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { siteSchema } from '../../domain/site.js';
import { lockStateFolder, VmStateFile } from '../../sites/hypervisor/vm-state-file.js';
import { ChangeLog, logPath } from '../../tracking/change-log.js';
import { DataFolder } from '../../config/data-folder.js';
import { fenceHost, fenceSources } from '../../instance/fenced-sources.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const site = siteSchema.parse({
  vault: { name: 'v', store: { kind: 'embedded', path: 'store' } },
  vmmServers: [{ name: 'vmm', clouds: [{ name: 'c', hosts: [{ name: 'h1' }] }] }],
  vms: ['db-01', 'app-01', 'web-01'].map((name) => ({
    name,
    host: 'h1',
    disks: [{ name: 'os', path: `${name}.img` }],
  })),
});
const state = (epoch: number) => ({
  ...{ epoch, phase: 'Committed' as const, recoveryPoint: 'p' },
  ...{ recoveryPointTime: '2026-03-01T00:00:00.000Z', at: '2026-03-01T00:00:00.000Z' },
});

test('a source whose VM runs at the recovery site does not start, whether or not its host remembers the fence', async () => {
  const data = new DataFolder(await temporaryFolder());
  const file = (vm: string) => VmStateFile.open(vm, path.join(data.hypervisorState('h1'), `${vm}.json`));
  const held = [
    { vm: 'db-01', asProtected: false, state: state(3) },
    { vm: 'app-01', asProtected: true, state: state(5) },
    { vm: 'web-01', asProtected: true },
    { vm: 'renamed-01', asProtected: true, state: state(2) },
  ];
  expect(await fenceSources(site, data, held)).toEqual(['db-01', 'app-01']);
  expect((await file('db-01')).current).toMatchObject({ power: 'Off', fencedEpoch: 3 });
  expect((await file('app-01')).current).toMatchObject({ power: 'Off', fencedEpoch: 5 });
  expect((await file('web-01')).current).toMatchObject({ power: 'Running', fencedEpoch: 0 });
  // What a host knows already, and one that was told of something newer, is left as it is.
  expect(await fenceSources(site, data, [held[0]!, { ...held[1]!, state: state(4) }])).toEqual([]);
  expect((await file('app-01')).current.fencedEpoch).toBe(5);
  // One whose memory is damaged is its hypervisor's to refuse, and keeps nobody else from being told.
  await writeFile(path.join(data.hypervisorState('h1'), 'db-01.json'), '{');
  expect(
    await fenceSources(site, data, [
      { ...held[0]!, state: state(8) },
      { ...held[1]!, state: state(8) },
    ]),
  ).toEqual(['app-01']);
});

test('a hypervisor that lost its state does not start a VM that only has change logs left, until the vault says where it runs', async () => {
  const folder = await temporaryFolder();
  const data = new DataFolder(path.join(folder, 'data'));
  const disk = (vm: string) => path.join(folder, `${vm}.img`);
  const here = siteSchema.parse({
    ...site,
    vms: ['db-01', 'app-01', 'web-01', 'new-01'].map((name) => ({
      ...{ name, host: 'h1', disks: [{ name: 'os', path: disk(name) }] },
    })),
  });
  for (const vm of ['db-01', 'app-01', 'web-01']) {
    const log = await ChangeLog.create(logPath(disk(vm), 1, 1), {
      ...{ bootId: randomUUID(), createdAt: 0, vm, disk: 'os', diskSize: 4096 },
      ...{ epoch: 1, sequence: 1, openedByFinalCut: false, firstWrite: 1 },
    });
    await log.abandon();
  }
  const file = (vm: string) => VmStateFile.open(vm, path.join(data.hypervisorState('h1'), `${vm}.json`));
  const held = [
    { vm: 'db-01', asProtected: true, state: state(3) },
    { vm: 'app-01', asProtected: true },
  ];
  expect(await fenceHost(here, 'h1', data, held)).toEqual({ fenced: ['db-01'], unknown: ['web-01'] });
  expect((await file('db-01')).current).toMatchObject({ power: 'Off', fencedEpoch: 3 });
  expect((await file('app-01')).current.power).toBe('Running');
  expect((await file('web-01')).current).toMatchObject({ power: 'Off', fencedEpoch: 0 });
  // The store does not answer: what the host remembers stays as it is.
  expect(await fenceHost(here, 'h1', data, undefined)).toEqual({ fenced: [], unknown: ['app-01'] });
  const running = await lockStateFolder(data.hypervisorState('h1'));
  await expect(fenceHost(here, 'h1', data, held)).rejects.toMatchObject({ code: 'InvalidVmState' });
  await running.close();
});
