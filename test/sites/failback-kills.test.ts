/**
 * A VM is brought back while its hypervisor is killed again and again: in each step, until the step has been done. The disk is
 * then compared with a plain read of its file.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { CatalogueError } from '../../domain/errors.js';
import { HypervisorClient } from '../../sites/hypervisor/control-client.js';
import { NbdGuest } from '../../sites/nbd/guest.js';
import { HypervisorProcess } from '../support/hypervisor-process.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const VM = 'db';
const SIZE = 16 * MiB;
const EPOCH = 3;
/** Long enough for a step to be under way, ms. */
const LONGEST_LIFE_MS = 40;

/** @returns a step runner that kills the hypervisor at random instants before it lets the step be done. */
async function killedHypervisor(original: Buffer) {
  const folder = await temporaryFolder();
  const file = join(folder, 'os.img');
  await writeFile(file, original);
  const process = await HypervisorProcess.configure(folder, 'h', {
    vms: [{ name: VM, disks: [{ name: 'os', path: file, format: 'raw' }] }],
  });
  onTestFinished(() => process.kill());
  await process.start();
  const client = new HypervisorClient(process.controlSocket);
  let kills = 0;
  const step = async <T>(work: () => Promise<T>): Promise<T> => {
    for (let deaths = randomInt(3); deaths > 0; deaths -= 1) {
      const attempt = work().then(
        () => undefined,
        (error: unknown) => {
          if (!(error instanceof CatalogueError) || error.code !== 'HypervisorUnreachable') throw error;
        },
      );
      await Promise.race([attempt, sleep(randomInt(1, LONGEST_LIFE_MS))]);
      await process.kill();
      await attempt;
      kills += 1;
      await process.start();
    }
    return await work();
  };
  return { client, file, step, kills: () => kills };
}

test.each([1, 2, 3])('a hypervisor that is killed in every step of a failback loses nothing (round %s)', async () => {
  const original = randomBytes(SIZE);
  const { client, file, step, kills } = await killedHypervisor(original);
  await step(() => client.shutDownVm(VM));
  const expected = Buffer.from(original);
  await step(() => client.beginFailback(VM, EPOCH));
  for (let sequence = 0; sequence < 4; sequence += 1) {
    const writes = Array.from({ length: 24 }, () => {
      const data = randomBytes(randomInt(1, 64) * 4 * KiB);
      return { offset: randomInt((SIZE - data.length) / 512) * 512, data };
    });
    await step(async () => {
      const layers = await client.openFailback(VM, { epoch: EPOCH, sequence });
      if (!layers) return;
      for (const { offset, data } of writes) await layers.disk('os').write(data, offset);
      await layers.complete();
    });
    for (const { offset, data } of writes) data.copy(expected, offset);
    expect((await client.describeVm(VM)).failback).toMatchObject({ epoch: EPOCH, received: sequence });
  }
  expect((await readFile(file)).equals(original), 'until the commit').toBe(true);

  await step(() => client.startVm(VM, EPOCH + 1));
  const guest = await NbdGuest.connect((await client.describeVm(VM)).disks[0]!.nbdUri!);
  const found = Buffer.alloc(SIZE);
  await guest.read(found, 0);
  expect(found.equals(expected)).toBe(true);
  const last = randomBytes(MiB);
  await guest.write(last, 5 * MiB, { fua: true });
  last.copy(expected, 5 * MiB);
  await guest.close();
  await step(() => client.commitFailback(VM, EPOCH + 1));
  await step(async () => {
    while ((await client.mergeSnapshot(VM)) > 0);
  });
  expect((await client.describeVm(VM)).failback).toBeUndefined();
  await step(() => client.shutDownVm(VM));
  expect((await readFile(file)).equals(expected)).toBe(true);
  expect(kills()).toBeGreaterThan(0);
});

test('a hypervisor that is killed while layers are discarded leaves the original', async () => {
  const original = randomBytes(SIZE);
  const { client, file, step } = await killedHypervisor(original);
  await client.shutDownVm(VM);
  for (let round = 0; round < 4; round += 1) {
    const epoch = EPOCH + 2 * round;
    await step(() => client.beginFailback(VM, epoch));
    const layers = (await client.openFailback(VM, { epoch, sequence: 0 }))!;
    await layers.disk('os').write(randomBytes(MiB), randomInt(SIZE / MiB) * MiB);
    await layers.complete();
    await step(() => client.discardFailback(VM, epoch));
    expect((await client.describeVm(VM)).failback).toBeUndefined();
    expect((await readFile(file)).equals(original)).toBe(true);
  }
  await client.startVm(VM, EPOCH + 10);
  const guest = await NbdGuest.connect((await client.describeVm(VM)).disks[0]!.nbdUri!);
  const found = Buffer.alloc(SIZE);
  await guest.read(found, 0);
  await guest.close();
  expect(found.equals(original)).toBe(true);
});
