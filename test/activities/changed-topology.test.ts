/** The Provider looks for VMs where they are, and a failover goes back to the disks that a point has. */
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createSourceFabricActivities } from '../../activities/source-fabric.js';
import { MAX_REPLICA_BYTES } from '../../domain/disk-limits.js';
import { siteSchema } from '../../domain/site.js';
import { recoveryPointId } from '../../domain/vault.js';
import { beginResync } from '../../replication/resync.js';
import { HypervisorClient } from '../../sites/hypervisor/control-client.js';
import { serveHypervisor } from '../../sites/hypervisor/control-server.js';
import { NbdGuest } from '../../sites/nbd/guest.js';
import { hypervisorConfigSchema } from '../../sites/hypervisor/hypervisor-config.js';
import { EmbeddedHypervisor } from '../../sites/hypervisor/hypervisor.js';
import { MiB } from '../replication/model.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { DISK_BYTES, guestWrites, openSite, run, seed, VM } from './embedded-site.js';

const quiet = { warn: () => undefined };
const vm = VM;

test('a VM is found on whichever host has it, whatever the site file says', async () => {
  const { folder, hypervisor, disks } = await openSite();
  const config = hypervisorConfigSchema.parse({
    stateFolder: join(folder, 'empty.state'),
    controlSocket: join(folder, 'empty.sock'),
    nbdSocketFolder: join(folder, 'empty.nbd'),
  });
  const empty = await EmbeddedHypervisor.open(config, quiet);
  const control = await serveHypervisor(config.controlSocket, empty, quiet);
  const has = hypervisor;
  const hasNot = new HypervisorClient(config.controlSocket);
  const isDead = new HypervisorClient(join(folder, 'nobody.sock'));
  const provider = (host: string, h1: HypervisorClient, h2: HypervisorClient) => {
    const site = siteSchema.parse({
      vault: { name: 'vault-1', store: { kind: 'embedded', path: 'store' } },
      vmmServers: [{ name: 'vmm-1', clouds: [{ name: 'c', hosts: [{ name: 'h1' }, { name: 'h2' }] }] }],
      vms: [{ name: vm, host, disks: [...disks, { name: 'scratch', path: 'none', excluded: true }] }],
    });
    return createSourceFabricActivities({
      site,
      vmmServer: 'vmm-1',
      hypervisorOf: (name) => (name === 'h1' ? h1 : h2),
    });
  };
  try {
    for (const other of [hasNot, isDead]) {
      const all = provider('h1', other, has);
      expect(await run(all.locateVm, { vm, host: 'h1' })).toEqual({ host: 'h2' });
      expect(await run(all.locateVm, { vm, host: 'unheard-of' })).toEqual({ host: 'h2' });
      expect(await run(all.checkProtectable, { vm })).toMatchObject({ host: 'h2' });
      expect(await run(all.shutDownVm, { vm })).toMatchObject({ exportsClosedAt: expect.any(String) });
      await run(all.startVm, { vm, epoch: 1 });
      const nowhere = provider('h1', other, hasNot);
      expect(await run(nowhere.locateVm, { vm, host: 'h1' })).toBeUndefined();
      const code = other === isDead ? 'HypervisorUnreachable' : 'VmNotFound';
      await expect(run(nowhere.checkProtectable, { vm })).rejects.toMatchObject({ type: code });
    }
    await has.beginReplication(vm, 4);
    const tracked = { host: 'h1', tracking: { epoch: 4 } };
    expect(await run(provider('h2', has, has).locateVm, { vm, host: 'h1' })).toEqual(tracked);
  } finally {
    await control.close();
    await empty.close();
  }
});

test('an unplanned failover to an older point has the disks of that time', async () => {
  const site = await openSite();
  await seed(site);
  const all = site.activities();
  await guestWrites(site, 'os', MiB);
  await run(all.cutAndShip, { vm, epoch: 1, sequence: 1 });
  await run(all.applyCycle, { vm, epoch: 1, sequence: 1, retentionHours: 2 });
  const disks = [
    { name: 'os', size: 2 * DISK_BYTES },
    { name: 'more', size: MiB },
  ];
  await beginResync(site.store, { vm, epoch: 2, disks });
  const { failoverEpoch, refusal } = await run(all.checkUnplannedFailover, { vm, wanted: 'latest' });
  expect(refusal).toBeUndefined();
  const { recoveryPoint } = await run(all.settleRecoveryPoint, { vm, wanted: 'latest' });
  expect(recoveryPoint.id).toBe(recoveryPointId(1, 1));
  await run(all.startUnplannedFailover, { vm, failoverEpoch, recoveryPoint: recoveryPoint.id });
  const started = await run(all.startReplicaVm, { vm, epoch: failoverEpoch });
  expect(started.disks.map(({ name }) => name)).toEqual(['os', 'data']);
  for (const [index, { name, nbdUri }] of started.disks.entries()) {
    const wanted = await readFile(site.disks[index]!.path);
    const guest = await NbdGuest.connect(nbdUri!);
    expect(guest.size, name).toBe(DISK_BYTES);
    const found = Buffer.alloc(DISK_BYTES);
    await guest.read(found, 0);
    expect(found.equals(wanted), name).toBe(true);
    await guest.close();
  }
});

test('a disk that no replica can hold is refused before anything begins, even if it is sparse', async () => {
  const folder = await temporaryFolder();
  const file = join(folder, 'large.raw');
  await writeFile(file, '');
  await truncate(file, MAX_REPLICA_BYTES + MiB);
  const config = hypervisorConfigSchema.parse({
    stateFolder: join(folder, 'large.state'),
    controlSocket: join(folder, 'large.sock'),
    nbdSocketFolder: join(folder, 'large.nbd'),
    vms: [{ name: 'large-01', disks: [{ name: 'os', path: file }] }],
  });
  const large = await EmbeddedHypervisor.open(config, quiet);
  const control = await serveHypervisor(config.controlSocket, large, quiet);
  const all = createSourceFabricActivities({
    site: siteSchema.parse({
      vault: { name: 'vault-1', store: { kind: 'embedded', path: 'store' } },
      vmmServers: [{ name: 'vmm-1', clouds: [{ name: 'c', hosts: [{ name: 'h1' }] }] }],
      vms: [{ name: 'large-01', host: 'h1', disks: [{ name: 'os', path: file }] }],
    }),
    vmmServer: 'vmm-1',
    hypervisorOf: () => new HypervisorClient(config.controlSocket),
  });
  try {
    await expect(run(all.checkProtectable, { vm: 'large-01' })).rejects.toMatchObject({
      type: 'PrerequisitesNotMet',
      message: expect.stringMatching(/disk os has \d+ bytes, .* at most \d+ .*: shrink it/),
    });
  } finally {
    await control.close();
    await large.close();
  }
});
