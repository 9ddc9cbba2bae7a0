/** What happens to a site in a soak run: what people ask for, and what goes wrong. Each is done when it resolves. */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { pauseReplication, resumeReplication } from '../../client/settings.js';
import { protectedItemId } from '../../domain/ids.js';
import type { SmallSite } from '../faults/small-site.js';
import type { StoreUnderTest } from '../faults/store-under-test.js';
import type { Random } from './random.js';

export const PROCESSES = [
  'host-hyperv-01',
  'hypervisor-hyperv-01',
  'azure-vault-01',
  'vmm-vmm-01',
  'temporal',
] as const;

export interface SoakWorld {
  readonly site: SmallSite;
  readonly store: StoreUnderTest;
  readonly vms: readonly string[];
  readonly random: Random;
  /** VMs that were made to need a resynchronization: for others a mark is a fault of the product. */
  readonly mayNeedResync: Set<string>;
  /** Jobs whose result has to be looked at. */
  readonly verifications: string[];
  /** Names given to recovery points so far. */
  readonly tags: { count: number };
}

type Action = (world: SoakWorld, vm: string) => Promise<unknown>;

/** A refusal is an answer: the VM is busy, paused, or marked; or the workers are being killed. */
const asked = (work: Promise<unknown>) => work.catch(() => undefined);

const operations: Record<string, Action> = {
  sync: ({ site }, vm) => asked(site.farshore.sync(vm)),
  tag: ({ site, tags }, vm) => asked(site.farshore.sync(vm, `tag-${(tags.count += 1)}`)),
  async pause({ site, random }, vm) {
    await asked(pauseReplication(site.farshore, vm));
    await sleep(random.below(10_000));
    await resumeUntilDone(site, vm);
  },
  resynchronize: ({ site }, vm) => asked(site.farshore.resynchronize(vm, true)),
  async verify({ site, verifications }, vm) {
    const accepted = await site.farshore.startJob(vm, 'verifyReplica').catch(() => undefined);
    if (accepted) verifications.push(accepted.jobId);
  },
};

const faults: Record<string, Action> = {
  killOne: async ({ site, random }) => site.killAndReturn(random.of(PROCESSES)),
  killSome: async ({ site, random }) => site.killAndReturn(...random.some(PROCESSES)),
  async killTwice({ site, random }) {
    const name = random.of(PROCESSES);
    await site.killAndReturn(name);
    await sleep(random.below(1_000));
    await site.killAndReturn(name);
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
  async terminated({ site }, vm) {
    const { item } = (await site.farshore.protectedItem(vm).catch(() => undefined)) ?? {};
    // A job of a VM that nobody looks after ends with an error; it is the entity alone that is to be lost here.
    if (!item || item.phase !== 'Protected' || item.job || item.pending.length > 0 || item.resync) return;
    const entity = site.farshore.temporal.workflow.getHandle(protectedItemId('vault-01', vm));
    await asked(entity.terminate('fault injected'));
    for (let attempt = 0; attempt < 20; attempt += 1) {
      const said = await site.shell.run('vault', 'adopt', vm, '--data', 'data');
      if (said.code === 0 && (await site.farshore.protectedItem(vm).catch(() => undefined))) return;
      await sleep(1_000);
    }
    throw new Error(`${vm} was not adopted from the vault`);
  },
  async flippedBit({ site, random, mayNeedResync }, vm) {
    mayNeedResync.add(vm);
    const log = (await site.logs()).findLast((file) => file.includes(`${vm}-`));
    if (log !== undefined) flipBitOf(log, 4096 + 40 + random.below(4096));
  },
};

/** How often each happens, next to each other. */
const odds: Record<string, number> = {
  ...{ sync: 6, tag: 3, pause: 1, resynchronize: 1, verify: 2 },
  ...{
    killOne: 5,
    killSome: 3,
    killTwice: 1,
    storeAway: 2,
    storeFull: 2,
    storeHangs: 3,
    storeSlow: 2,
    storeAwayAndKilled: 1,
  },
  ...{ terminated: 1, flippedBit: 1 },
};
const actions: Record<string, Action> = { ...operations, ...faults };
const names = Object.entries(odds).flatMap(([name, count]) => Array.from({ length: count }, () => name));

export function chooseAction({ random, vms }: SoakWorld): { name: string; vm: string; act: Action } {
  const name = random.of(names);
  return { name, vm: random.of(vms), act: actions[name]! };
}

/** What is asked for again until it is so: workers may be away. */
export async function resumeUntilDone(site: SmallSite, vm: string): Promise<void> {
  for (let attempt = 0; attempt < 60; attempt += 1) {
    const view = await site.farshore.protectedItem(vm).catch(() => undefined);
    if (view && view.item.paused === undefined) return;
    await asked(resumeReplication(site.farshore, vm));
    await sleep(500);
  }
  throw new Error(`${vm} could not be resumed`);
}

/** A log that ends before the bit, or is gone by now, is left as it is. */
function flipBitOf(file: string, offset: number): void {
  let fd: number;
  try {
    fd = openSync(file, 'r+');
  } catch {
    return;
  }
  const byte = Buffer.alloc(1);
  if (readSync(fd, byte, 0, 1, offset) === 1) {
    byte[0]! ^= 1;
    writeSync(fd, byte, 0, 1, offset);
  }
  closeSync(fd);
}
