/** The replica of a model in a real store, and what others read there. */
import { execFile } from 'node:child_process';
import { open, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import { RawDisk } from '../../disks/raw.js';
import type { Fence } from '../../domain/fence.js';
import { vaultPaths } from '../../domain/vault.js';
import { prepareReplica, replicaSizeOf } from '../../replication/replica.js';
import { beginResync } from '../../replication/resync.js';
import { copySlice } from '../../replication/seed.js';
import { digestReplica } from '../../replication/target-digests.js';
import { verifySeed } from '../../replication/verify-seed.js';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { describeReplica, sizesOf, VM, type Model } from './model.js';
import { replicaBlobName } from '../../sites/vhd-disks.js';

export interface OpenedStore {
  readonly store: ReplicaStore;
  readonly folder: string;
}

export async function openStore(): Promise<OpenedStore> {
  const folder = path.join(await temporaryFolder(), 'store');
  return { store: await EmbeddedReplicaStore.open(folder, { create: true }), folder };
}

/**
 * Stores that are as one was prepared, each in a folder of its own: making all of it durable takes longer than most of what
 * is tested with it. Holes stay holes.
 */
export async function copiesOf({ store, folder }: OpenedStore): Promise<() => Promise<OpenedStore>> {
  await store.close();
  return async () => {
    const copy = path.join(await temporaryFolder(), 'store');
    await promisify(execFile)('cp', ['-a', '--sparse=always', folder, copy]);
    return { store: await EmbeddedReplicaStore.open(copy), folder: copy };
  };
}

/** Prepares, copies and verifies the model as it is; what follows can be shipped and applied. */
export async function seedReplica(store: ReplicaStore, model: Model, epoch = 1): Promise<void> {
  const fence = { epoch, sequence: 0 };
  await prepareReplica(store, describeReplica(sizesOf(model), epoch), fence);
  for (const [disk, content] of model.disks) {
    const source = await rawDiskOf(content);
    try {
      await copySlice(store, source, { vm: VM, disk, fromOffset: 0, maxBytes: Infinity, fence });
    } finally {
      await source.close();
    }
  }
  for (const disk of model.disks.keys()) await verifySeed(store, { vm: VM, disk, epoch });
  model.seal(epoch, 0);
}

/** What a resynchronization does, up to the first cycle of the epoch. @returns bytes sent. */
export async function resyncReplica(store: ReplicaStore, model: Model, epoch: number): Promise<number> {
  const disks = Object.entries(sizesOf(model)).map(([name, size]) => ({ name, size }));
  await beginResync(store, { vm: VM, epoch, disks });
  let sent = 0;
  for (const [disk, content] of model.disks) {
    await digestReplica(store, { vm: VM, disk, epoch });
    const raw = await rawDiskOf(content);
    const task = { vm: VM, disk, fromOffset: 0, maxBytes: Infinity, fence: { epoch, sequence: 0 } };
    try {
      sent += (await copySlice(store, raw, task)).dataBytes;
    } finally {
      await raw.close();
    }
  }
  for (const disk of model.disks.keys()) await verifySeed(store, { vm: VM, disk, epoch });
  return sent;
}

/** The source's bytes, and zeroes behind them up to the end of the replica. */
export async function expectReplicaOf(folder: string, model: Model): Promise<void> {
  for (const [disk, content] of model.disks) {
    const replica = await replicaBytes(folder, disk, replicaSizeOf(content.length));
    expect(replica.subarray(0, content.length).equals(content), disk).toBe(true);
    expect(replica.subarray(content.length).every((byte) => byte === 0)).toBe(true);
  }
}

export async function rawDiskOf(content: Buffer): Promise<RawDisk> {
  const file = path.join(await temporaryFolder(), 'disk.raw');
  await writeFile(file, content);
  return await RawDisk.open(file, { readOnly: true });
}

/** The replica file of the embedded store, past the store: what anybody else would read. */
export const replicaFile = (folder: string, disk: string): string =>
  path.join(folder, ...replicaBlobName(VM, disk).split('/'));

/** The disk's bytes as the file system has them, without padding and footer. */
export const replicaBytes = async (folder: string, disk: string, size: number): Promise<Buffer> =>
  (await readFile(replicaFile(folder, disk))).subarray(0, size);

/** Puts something else in the place of both copies of a record; undefined: nothing. */
export async function replaceRecord(
  store: ReplicaStore,
  name: string,
  data: Buffer | undefined,
  fence: Fence,
): Promise<void> {
  const scope = vaultPaths.vm(VM);
  for (const copy of [name, vaultPaths.second(name)]) {
    if (data === undefined) await store.objects.delete(copy, { scope, ...fence });
    else await store.objects.put(copy, data, { scope, ...fence });
  }
}

/** Changes one byte of a file of the store behind its back. */
export async function flipByte(file: string, offset: number): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    const byte = Buffer.alloc(1);
    await handle.read(byte, 0, 1, offset);
    byte[0]! ^= 0x40;
    await handle.write(byte, 0, 1, offset);
  } finally {
    await handle.close();
  }
}
