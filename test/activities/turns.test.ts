/** Long activities take turns; the engine below is real, and so are both sites. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { CancelledFailure } from '@temporalio/common';
import { expect, test } from 'vitest';
import type { DiskAddress } from '../../ports/replica-disks.js';
import { deferred } from '../../tracking/deferred.js';
import { intercept } from '../replication/intercepted-store.js';
import { MiB } from '../replication/model.js';
import { begin, DISK_BYTES, guestWrites, openSite, quietEnvironment, run, seed, VM } from './embedded-site.js';
import { replicaBlobName } from '../../sites/vhd-disks.js';

const COPIES = 2;
const others = [1, 2, 3, 4, 5, 6, 7, 8].map((number) => `vm-${number}`);
const disk = 'os';
const epoch = 1;

/** The store stops answering whoever writes the disks of these VMs. */
function held(site: Awaited<ReturnType<typeof openSite>>) {
  const gate = deferred<void>();
  const waiting: string[] = [];
  const store = intercept(site.store, 'disk.write', {
    before: async (of) => {
      const vm = others.find((other) => (of as DiskAddress).vm === other);
      if (vm === undefined) return;
      if (!waiting.includes(vm)) waiting.push(vm);
      await gate.promise;
    },
  });
  return { waiting, store, open: gate.resolve };
}

async function expectEqual(storeFolder: string, vm: string, name: string, path: string): Promise<void> {
  const replica = await readFile(join(storeFolder, ...replicaBlobName(vm, name).split('/')));
  expect(replica.subarray(0, DISK_BYTES).equals(await readFile(path)), `${vm}/${name}`).toBe(true);
}

test('eight copies in progress delay neither the cycle of a ninth VM nor any short work', async () => {
  const site = await openSite(undefined, others);
  await seed(site);
  for (const vm of others) await begin(site, vm);
  const { waiting, store, open } = held(site);
  const all = site.activities(store);
  const copies = others.map((vm) => {
    const environment = quietEnvironment();
    const beats: unknown[] = [];
    environment.on('heartbeat', (details: unknown) => beats.push(details));
    return { environment, beats, done: environment.run(all.copyDisk, { vm, epoch, disk, fromOffset: 0 }) };
  });
  while (waiting.length < COPIES) await setImmediate();

  await guestWrites(site, disk, 3 * MiB);
  await run(all.cutAndShip, { vm: VM, epoch, sequence: 1 });
  await run(all.applyCycle, { vm: VM, epoch, sequence: 1, retentionHours: 2 });
  for (const { name, path } of site.disks) await expectEqual(site.storeFolder, VM, name, path);
  expect((await run(all.checkSource, { vm: others[7]! })).trackedEpoch).toBe(epoch);
  // Only as many work as may; the others say in their heartbeats that they wait.
  expect(waiting).toHaveLength(COPIES);
  const working = new Set(waiting);
  const last = copies.map(
    ({ beats }) => (beats.at(-1) as { waitsForItsTurn?: true } | undefined)?.waitsForItsTurn === true,
  );
  expect(last).toEqual(others.map((vm) => !working.has(vm)));

  // Cancelled while it waits, a copy is heard at once; the next in order is not kept waiting by it.
  const withdrawn = others.findIndex((vm) => !working.has(vm));
  copies[withdrawn]!.environment.cancel();
  await expect(copies[withdrawn]!.done).rejects.toBeInstanceOf(CancelledFailure);
  open();
  const stayed = copies.filter((_, place) => place !== withdrawn);
  for (const { done } of stayed) expect(await done).toMatchObject({ done: true });
  expect(waiting.toSorted()).toEqual(others.filter((_, place) => place !== withdrawn));
  for (const vm of waiting) await expectEqual(site.storeFolder, vm, disk, join(site.folder, `${vm}.img`));
  expect(stayed.map(({ beats }) => (beats.at(-1) as object | undefined) ?? {})).not.toContainEqual(
    expect.objectContaining({ waitsForItsTurn: true }),
  );
});

test('a cut is made before its cycle waits to be sent', async () => {
  const site = await openSite(undefined, others);
  const sequence = 1;
  await seed(site);
  for (const vm of others) {
    await begin(site, vm);
    await run(site.activities().copyDisk, { vm, epoch, disk, fromOffset: 0 });
    while ((await run(site.activities().mergeSnapshot, { vm })).bytesLeft > 0);
  }
  const gate = deferred<void>();
  let sending = 0;
  const store = intercept(site.store, 'objects.putIfAbsent', {
    before: async () => {
      sending += 1;
      await gate.promise;
    },
  });
  const all = site.activities(store);
  const cycles = others.map((vm) => run(all.cutAndShip, { vm, epoch, sequence }));
  while (sending < others.length) await setImmediate();
  await guestWrites(site, disk, MiB);
  const ninth = run(all.cutAndShip, { vm: VM, epoch, sequence });
  const openSequence = async () => (await site.hypervisor.describeVm(VM)).tracking?.openSequence;
  while ((await openSequence()) !== sequence + 1) await setImmediate();
  expect(sending).toBe(others.length);
  gate.resolve();
  await Promise.all(cycles);
  expect(await ninth).toMatchObject({ sequence, bytes: MiB });
  await run(all.applyCycle, { vm: VM, epoch, sequence, retentionHours: 2 });
  for (const { name, path } of site.disks) await expectEqual(site.storeFolder, VM, name, path);
});
