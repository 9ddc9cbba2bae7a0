/** What goes wrong in a soak run: processes, store, disks, Temporal, files, and what other users ask for. */
import { spawn } from 'node:child_process';
import { closeSync, ftruncateSync, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { protectedItemId } from '../../domain/ids.js';
import { toMs } from '../../domain/time.js';
import { cliPath } from '../client/command.js';
import { leave, resize } from '../support/small-file-system.js';
import { asked, type Action, type SoakWorld } from './soak-world.js';

const MiB = 1024 * 1024;
const PROCESSES = ['host-hyperv-01', 'hypervisor-hyperv-01', 'azure-vault-01', 'vmm-vmm-01', 'temporal'] as const;
const HYPERVISOR = 'hypervisor-hyperv-01';
/** What the hypervisor leaves free for the guests, and what they may need of it meanwhile, bytes. */
const FLOOR = 64 * MiB;
/** A cycle that is not applied for this long although nothing but a reader stands in its way, ms. */
const HELD_UP_MS = 60_000;
const ADOPTION_ATTEMPTS = 40;
/** What a VM is marked for, by what was done to it. */
const SYNC_FAILED = /flushed|synced|sealed|written|closed|stored|EIO/i;
const NO_SPACE = /space|free|snapshot/i;
const LOG_DAMAGED = /log|damaged/i;
const RECORD_DAMAGED = /manifest|record|damaged|cycle/i;

export const faults: Record<string, Action> = {
  killOne: async ({ site, random }) => site.killAndReturn(random.of(PROCESSES)),
  killSome: async ({ site, random }) => site.killAndReturn(...random.some(PROCESSES)),
  async killTwice({ site, random }) {
    const name = random.of(PROCESSES);
    await site.killAndReturn(name);
    await sleep(random.below(1_000));
    await site.killAndReturn(name);
  },
  /** It may hold a lock, a lease, or half a request. */
  async stopped({ site, random }) {
    const name = random.of(['host-hyperv-01', 'azure-vault-01', 'vmm-vmm-01'] as const);
    const pid = site.running.processId(name);
    if (pid === undefined || !signalled(pid, 'SIGSTOP')) return;
    await sleep(random.below(15_000));
    signalled(pid, random.next() < 0.5 ? 'SIGCONT' : 'SIGKILL');
  },
  async storeAway({ store, random }) {
    await store.cut();
    await sleep(random.below(6_000));
    await store.reach();
  },
  async storeFull({ store, random }) {
    await store.refuse();
    await sleep(random.below(6_000));
    await store.accept();
  },
  async storeHangs({ store, site, random }, vm) {
    // A VM that the store does not know yet, or a store that is away, can't be held.
    const release = await store.hold(vm).catch(() => undefined);
    if (!release) return;
    await sleep(random.below(4_000));
    if (random.next() < 0.5) await site.killAndReturn(...random.some(PROCESSES));
    await release();
  },
  async storeSlow({ store, random }, vm) {
    const fast = await store.slow(vm).catch(() => undefined);
    if (!fast) return;
    await sleep(random.below(6_000));
    await fast();
  },
  async storeAwayAndKilled({ store, site, random }) {
    await store.cut();
    await site.killAndReturn(...random.some(PROCESSES));
    await store.reach();
  },
  /** The disks' device, or the store's. */
  async failedSync({ site, store, syncFault, random, vms, marks }) {
    if (!syncFault) return;
    const ofDisks = store.folder === undefined || random.next() < 0.5;
    if (ofDisks) for (const vm of vms) marks.expect(vm, SYNC_FAILED);
    await syncFault.failBelow(ofDisks ? path.dirname(site.disk) : store.folder);
    await sleep(random.below(1_500));
    await syncFault.mend();
    // A guest whose disk could not be synced gets errors until somebody starts it again.
    if (ofDisks) await site.killAndReturn(HYPERVISOR);
  },
  /** With a VM snapshot, where a verification or a copy is under way. */
  async fullGuestVolume({ site, volume, random, vms, marks }, vm) {
    for (const each of vms) marks.expect(each, NO_SPACE);
    if (random.next() < 0.7) await asked(site.farshore.startJob(vm, 'verifyReplica'));
    await sleep(random.below(3_000));
    await leave(volume.folder, FLOOR + random.below(16 * MiB));
    await sleep(random.below(10_000));
    await resize(volume.folder, volume.mebibytes);
  },
  /** Somebody exports a point, and is stopped in the middle: no cycle waits for that. */
  async suspendedReader({ site, store, random, find }, vm) {
    const to = path.join(site.folder, 'suspended', `${vm}-${random.below(1e9)}`);
    await mkdir(path.dirname(to), { recursive: true });
    const args = ['vault', 'export', vm, '--point', 'latest', '--to', to, ...store.arguments];
    const reader = spawn(process.execPath, [cliPath, ...args], {
      cwd: site.folder,
      env: { ...site.shell.env, ...store.environment },
      stdio: 'ignore',
    });
    const ended = new Promise((resolve) => reader.once('exit', resolve));
    await Promise.race([ended, sleep(300 + random.below(1_500))]);
    if (reader.pid === undefined || !signalled(reader.pid, 'SIGSTOP')) return;
    const view = await site.farshore.protectedItem(vm).catch(() => undefined);
    const isIdle = view && view.item.phase === 'Protected' && !view.item.job && !view.item.resync && !view.item.paused;
    if (isIdle && !view.item.retry) {
      const asking = await site.farshore.sync(vm).catch(() => undefined);
      const deadline = performance.now() + HELD_UP_MS;
      for (;;) {
        const now = (await site.farshore.protectedItem(vm).catch(() => undefined))?.item;
        if (!asking || !now || now.epoch !== view.item.epoch || now.job || now.resync || now.paused) break;
        if ((now.applied?.sequence ?? 0) >= asking.sequence) break;
        if (performance.now() > deadline) {
          find(`${vm}: no cycle is applied while a reader of the store is suspended`);
          break;
        }
        await sleep(200);
      }
    }
    reader.kill('SIGKILL');
    await ended;
    await rm(to, { recursive: true, force: true });
  },
  async terminated({ site }, vm) {
    const { item } = (await site.farshore.protectedItem(vm).catch(() => undefined)) ?? {};
    // A job of a VM that nobody looks after ends with an error; it is the entity alone that is to be lost here.
    if (!item || item.phase !== 'Protected' || item.job || item.pending.length > 0 || item.resync) return;
    await terminateAndAdopt(site, vm);
  },
  /** As the runbook says: the VM's workflow is terminated too, and the VM adopted, or protected again before it was. */
  async terminatedJob({ site, random, marks }, vm) {
    const asking =
      random.next() < 0.5 ? site.farshore.startJob(vm, 'verifyReplica') : site.farshore.resynchronize(vm, true);
    await asked(asking);
    await sleep(random.below(3_000));
    const { item } = (await site.farshore.protectedItem(vm).catch(() => undefined)) ?? {};
    if (!item?.job) return;
    marks.expect(vm, /./);
    await asked(site.farshore.temporal.workflow.getHandle(item.job.jobId).terminate('fault injected'));
    await terminateAndAdopt(site, vm);
  },
  /** Updates that are refused, around the instant at which a cycle is due, and some that are not. */
  async refusedAtDueTime({ site, random }, vm) {
    const { item } = (await site.farshore.protectedItem(vm).catch(() => undefined)) ?? {};
    if (item?.cycleDueAt === undefined) return;
    const entity = site.farshore.temporal.workflow.getHandle(protectedItemId(site.vault, vm));
    const until = toMs(item.cycleDueAt) - Date.now() - 150;
    if (until > 12_000) return;
    await sleep(Math.max(0, until));
    for (let sent = 0; sent < 12; sent += 1) {
      const requestId = `refused/${vm}/${Date.now()}/${random.below(1e9)}`;
      const update = random.of(['resume', 'commitFailover', 'resume', 'sync'] as const);
      // Not waited for: they are to meet in one task.
      void asked(entity.executeUpdate(update, { args: [{ requestId }] }));
      await sleep(random.below(50));
    }
  },
  async flippedBit({ site, random, marks }, vm) {
    marks.expect(vm, LOG_DAMAGED);
    const log = await newestLog(site, vm);
    if (log !== undefined) flipBitOf(log, 4096 + 40 + random.below(4096));
  },
  /** Of what a killed hypervisor left the end is gone. */
  async shortenedLog({ site, random, marks }, vm) {
    const pid = site.running.processId(HYPERVISOR);
    const log = await newestLog(site, vm);
    if (pid === undefined || log === undefined || !signalled(pid, 'SIGSTOP')) return;
    marks.expect(vm, LOG_DAMAGED);
    shorten(log, 1 + random.below(8 * 1024));
    await site.killAndReturn(HYPERVISOR);
  },
  /** A recovery point's record, or a cycle's manifest. */
  async damagedRecord({ store, random, marks, damaged }, vm) {
    marks.expect(vm, RECORD_DAMAGED);
    const what = await store.damage(vm, random.next).catch(() => undefined);
    if (what !== undefined) damaged.push(what);
  },
};

async function terminateAndAdopt(site: SoakWorld['site'], vm: string): Promise<void> {
  const entity = site.farshore.temporal.workflow.getHandle(protectedItemId(site.vault, vm));
  await asked(entity.terminate('fault injected'));
  let told = '';
  for (let attempt = 0; attempt < ADOPTION_ATTEMPTS; attempt += 1) {
    for (const command of [
      ['vault', 'adopt', vm],
      // What was not copied to the end cannot be adopted.
      ['protect', vm, '--yes'],
    ]) {
      const said = await site.shell.run(...command, '--data', 'data');
      if (said.code === 0 && (await site.farshore.protectedItem(vm).catch(() => undefined))) return;
      told = `${said.stdout}${said.stderr}`;
      if (!told.includes('protect it again')) break;
    }
    await sleep(1_000);
  }
  throw new Error(`${vm}: nobody looks after it again: ${told}`);
}

const newestLog = async (site: SoakWorld['site'], vm: string): Promise<string | undefined> =>
  (await site.logs()).findLast((file) => path.basename(file).startsWith(`${vm}-`));

/** @returns false when it has ended. */
function signalled(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/** A log that ends before the bit, or is gone by now, is left as it is. */
function flipBitOf(file: string, offset: number): void {
  inFile(file, (fd) => {
    const byte = Buffer.alloc(1);
    if (readSync(fd, byte, 0, 1, offset) !== 1) return;
    byte[0]! ^= 1;
    writeSync(fd, byte, 0, 1, offset);
  });
}

/** Behind its header, which is preallocated. */
function shorten(file: string, bytes: number): void {
  inFile(file, (fd) => ftruncateSync(fd, Math.max(4096, fstatSync(fd).size - bytes)));
}

function inFile(file: string, work: (fd: number) => void): void {
  let fd: number;
  try {
    fd = openSync(file, 'r+');
  } catch {
    return;
  }
  try {
    work(fd);
  } finally {
    closeSync(fd);
  }
}
