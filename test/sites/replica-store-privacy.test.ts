/** What other users of the machine can do to a store in a folder, and to what is exported from it: nothing. */
import { chmod, lstat, mkdir, open, readFile, readdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { tryLockFile } from '../../disks/native.js';
import { exportPoint } from '../../replication/export-point.js';
import { createRecoveryPoint } from '../../replication/recovery-points.js';
import { applyCycle } from '../../replication/apply.js';
import { shipCycle } from '../../replication/ship.js';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import type { WriteFence } from '../../ports/objects.js';
import { DataFolder } from '../../config/data-folder.js';
import { privacyCheck } from '../../doctor/privacy.js';
import { content } from '../support/content.js';
import { failsWith } from '../support/fails-with.js';
import { MiB, Model, VM, write } from '../replication/model.js';
import { seedReplica } from '../replication/replica-fixture.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const SCOPE = 'vms/db-02';
const NOW: WriteFence = { epoch: 1, sequence: 0, scope: SCOPE };
const BLOB = `${SCOPE}/disks/os.vhd`;

/** Entries that others than the owner may use. */
async function openToOthers(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const entry of ['.', ...(await readdir(folder, { recursive: true }))]) {
    if (((await lstat(path.join(folder, entry))).mode & 0o077) !== 0) found.push(entry);
  }
  return found;
}

/** With a recovery point, every kind of file, and a generation of locks that somebody was shut out of. */
async function usedStore(): Promise<{ folder: string; store: EmbeddedReplicaStore }> {
  const folder = path.join(await temporaryFolder(), 'store');
  const store = await EmbeddedReplicaStore.open(folder, { create: true, patience: { write: 50, raise: 20 } });
  const model = new Model({ os: MiB });
  await seedReplica(store, model);
  model.write('os', write(0, 4096, 1));
  const { cut, changeSet } = model.seal(1, 1);
  await shipCycle(store, changeSet, cut, { epoch: 1, sequence: 1 });
  await applyCycle(store, { vm: VM, epoch: 1, sequence: 1 });
  await createRecoveryPoint(store, { vm: VM, epoch: 1, sequence: 1, kind: 'crashConsistent' });
  await store.pageBlobs.create(BLOB, MiB, NOW);
  await store.pageBlobs.snapshot(BLOB, NOW);
  await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(4096, 1) }], NOW);
  const other = await open(path.join(folder, SCOPE, '.scope.lock'));
  tryLockFile(other.fd, 'shared');
  await store.objects.raiseFence({ ...NOW, epoch: 2 });
  await other.close();
  await store.objects.put(`${SCOPE}/after.json`, Buffer.from('x'), { ...NOW, epoch: 2 });
  return { folder, store };
}

test('even with umask 0, no other user can use a file of a store, a data folder or an export', async () => {
  const usual = process.umask(0);
  onTestFinished(() => void process.umask(usual));
  const { folder, store } = await usedStore();
  expect(await openToOthers(folder)).toEqual([]);
  const target = path.join(await temporaryFolder(), 'export');
  await exportPoint(store, { vm: VM, wanted: 'latest', folder: target });
  expect(await openToOthers(target)).toEqual([]);
  const data = path.join(await temporaryFolder(), 'data');
  await new DataFolder(data).make();
  expect((await lstat(data)).mode & 0o077).toBe(0);
});

test('doctor names a file that others may use, and the remedy', async () => {
  const { folder } = await usedStore();
  const check = privacyCheck('Privacy of the store', folder, 'vault.store');
  expect(await check.run()).toMatchObject({ status: 'ok' });
  await chmod(path.join(folder, BLOB), 0o644);
  // The folder above keeps them out.
  expect(await check.run()).toMatchObject({ status: 'ok' });
  for (const part of ['', 'vms', SCOPE, `${SCOPE}/disks`]) await chmod(path.join(folder, part), 0o755);
  const finding = await check.run();
  expect(finding).toMatchObject({ status: 'warning', remedy: `chmod -R go= ${folder}` });
  expect(JSON.stringify(finding)).toContain(`${BLOB} (mode 0644)`);
});

test('the command that doctor shows for a folder with a space in its name can be typed', async () => {
  const folder = path.join(await temporaryFolder(), 'my store');
  await mkdir(folder);
  await chmod(folder, 0o777);
  const finding = await privacyCheck('Privacy of the store', folder, 'vault.store').run();
  expect(finding).toMatchObject({ status: 'warning', remedy: `chmod -R go= '${folder}'` });
});

test.each(['.', 'vms', SCOPE])('doctor names a folder whose files others may replace (%s)', async (part) => {
  const { folder } = await usedStore();
  const check = privacyCheck('Privacy of the store', folder, 'vault.store');
  await chmod(folder, 0o755);
  // Of what is only read, file by file, it stays private.
  expect(await check.run()).toMatchObject({ status: 'ok' });
  if (part !== '.') await chmod(path.join(folder, 'vms'), 0o755);
  await chmod(path.join(folder, part), 0o777);
  const finding = await check.run();
  expect(finding).toMatchObject({ status: 'warning', remedy: `chmod -R go= ${folder}` });
  expect(JSON.stringify(finding)).toContain(`${path.join(folder, part)} (mode 0777)`);
});

test('the process that holds a lock of the store is named, and does not block an export', async () => {
  const { folder, store } = await usedStore();
  const locks = (await readdir(folder, { recursive: true })).filter((name) => /\.(lock|gate)$/.test(name));
  expect(locks.length).toBeGreaterThan(4);
  for (const name of locks) {
    const file = await open(path.join(folder, name));
    onTestFinished(async () => await file.close());
    expect(tryLockFile(file.fd, 'exclusive'), name).toBe(true);
  }
  const put = store.objects.put(`${SCOPE}/x`, Buffer.from('x'), { ...NOW, epoch: 2 });
  expect((await failsWith('StoreBusy', put)).message).toContain(`process ${process.pid} `);
  const target = path.join(await temporaryFolder(), 'export');
  await exportPoint(store, { vm: VM, wanted: 'latest', folder: target });
  expect(JSON.parse(await readFile(path.join(target, 'export.json'), 'utf8'))).toMatchObject({ vm: VM });
});

test('an export does not write through a link that was put into its folder', async () => {
  const { store } = await usedStore();
  const folder = await temporaryFolder();
  const victim = path.join(folder, 'victim');
  await writeFile(victim, 'mine');
  const planted = async (link: string) => {
    const target = path.join(folder, link);
    await mkdir(target);
    await symlink(victim, path.join(target, link));
    return target;
  };
  for (const link of ['os.vhd.partial', 'export.json.partial', 'description.json.partial']) {
    const target = await planted(link);
    await exportPoint(store, { vm: VM, wanted: 'latest', folder: target });
    expect((await lstat(path.join(target, 'os.vhd'))).isFile()).toBe(true);
    expect(await readFile(victim, 'utf8'), link).toBe('mine');
  }
  const target = await planted('.export-unfinished');
  await expect(exportPoint(store, { vm: VM, wanted: 'latest', folder: target })).rejects.toThrow('is a link');
  expect(await readFile(victim, 'utf8')).toBe('mine');
});
