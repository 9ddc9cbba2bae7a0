/** What happens to a site in a soak run: what people ask for, and what goes wrong. Each is done when it resolves. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { SmallSite } from '../faults/small-site.js';
import { faults } from './soak-faults.js';
import { asked, type Action, type SoakWorld } from './soak-world.js';

const operations: Record<string, Action> = {
  sync: ({ site }, vm) => asked(site.farshore.sync(vm)),
  tag: ({ site, tags }, vm) => asked(site.farshore.sync(vm, `tag-${(tags.count += 1)}`)),
  async pause({ site, random }, vm) {
    await asked(site.farshore.pause(vm));
    await sleep(random.below(10_000));
    await resumeUntilDone(site, vm);
  },
  resynchronize: ({ site }, vm) => asked(site.farshore.resynchronize(vm, true)),
  async verify({ site, verifications }, vm) {
    const accepted = await site.farshore.startJob(vm, 'verifyReplica').catch(() => undefined);
    if (accepted) verifications.push(accepted.jobId);
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
  ...{ stopped: 3, failedSync: 2, fullGuestVolume: 2, suspendedReader: 2 },
  ...{ terminated: 1, terminatedJob: 1, refusedAtDueTime: 4 },
  ...{ flippedBit: 1, shortenedLog: 1, damagedRecord: 1 },
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
    await asked(site.farshore.resume(vm));
    await sleep(500);
  }
  throw new Error(`${vm} could not be resumed`);
}
