/** A plan run that somebody terminates: no machine stays shut down and waiting because of it. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { SoakWorld } from './soak-world.js';

/** Longest that a machine may be under way after its plan run is gone, ms. */
const PATIENCE_MS = 5 * 60_000;

export async function terminatePlanRun({ site, vms, random, find }: SoakWorld): Promise<void> {
  for (const vm of vms) {
    await site.untilRetried(
      ({ item: { phase, job, resync, retry, pending } }) =>
        phase === 'Protected' && !job && !resync && !retry && pending.length === 0,
      vm,
    );
  }
  const plan = { name: 'all', groups: vms.map((vm) => ({ name: vm, vms: [vm] })) };
  const id = await site.farshore.runPlan(plan, 'planned');
  await sleep(random.below(12_000));
  await site.farshore.temporal.workflow
    .getHandle(id)
    .terminate('fault injected')
    .catch(() => undefined);
  const deadline = performance.now() + PATIENCE_MS;
  for (const vm of vms) {
    for (;;) {
      const view = await site.farshore.protectedItem(vm).catch(() => undefined);
      if (view && !view.item.job && view.item.pending.length === 0) break;
      if (performance.now() > deadline) {
        find(`${vm}: still under way after its plan run was terminated: ${JSON.stringify(view?.item.job)}`);
        break;
      }
      await sleep(500);
    }
  }
}
