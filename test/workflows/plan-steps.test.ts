/** Steps of a plan run that are no part of a failover, and what a person may say of them. */
import { randomUUID } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import type { WorkflowHandle } from '@temporalio/client';
import { newStep, plannedGraph, type PlanGraph } from '../../domain/plan-graph.js';
import { newPlanRun } from '../../domain/plan-run.js';
import { toIso } from '../../domain/time.js';
import type { runRecoveryPlan } from '../../workflows/index.js';
import * as messages from '../../workflows/messages.js';
import type { SimulatedSite } from './simulated-site.js';
import { skippedTime } from './skipped-time.js';
import type { TestVault } from './test-vault.js';

type Run = WorkflowHandle<typeof runRecoveryPlan>;

const time = skippedTime();
let site: SimulatedSite;
let vault: TestVault;
beforeEach(() => {
  ({ site, vault } = time.setUp());
});

const groups = [{ name: 'data', vms: ['db-01'] }];
const DNS = 'switch/dns';
const PAUSE = 'switch/pause';

/** As for a planned failover, with a stage before the start: a person switches something over, and it takes effect. */
function graph(): PlanGraph {
  const { stages, steps } = plannedGraph({ name: 'p', groups });
  return {
    stages: [
      ...stages.map((stage) => (stage.id === 'start-1' ? { ...stage, after: ['switch'] } : stage)),
      { id: 'switch', title: 'switching over', after: ['send'] },
    ],
    steps: [
      ...steps,
      newStep({ id: DNS, stage: 'switch', kind: 'manualAction', instructions: 'point the name at the recovery site' }),
      newStep({ id: PAUSE, stage: 'switch', kind: 'wait', seconds: 60 }),
    ],
  };
}

const startRun = async (): Promise<Run> => {
  const now = toIso(await time.env.currentTimeMs());
  return vault.startPlan('steps', groups, (id) => ({
    ...newPlanRun(id, { vault: vault.vault, plan: { name: 'steps', groups }, type: 'planned' }, 'starting', now),
    ...(graph() as { stages: never; steps: never }),
  }));
};

const stateOf = async (run: Run, id: string) =>
  (await run.query(messages.planRunQuery)).steps.find((step) => step.id === id)!;
async function until(run: Run, id: string, state: string): Promise<void> {
  for (let poll = 0; poll < 200; poll += 1) {
    if ((await stateOf(run, id)).state === state) return;
    await time.env.sleep(1_000);
  }
  throw new Error(`${id} is ${JSON.stringify(await stateOf(run, id))}`);
}
const ask = (
  run: Run,
  request: keyof typeof messages.planStepUpdates,
  step: string,
  requestId: string = randomUUID(),
) => run.executeUpdate(messages.planStepUpdates[request], { args: [{ requestId, step, reason: 'as agreed' }] });

describe('a manual action', () => {
  it('holds the steps after it until it has been approved and the wait in parallel is over', async () => {
    await vault.run(async () => {
      await vault.protect('db-01');
      const run = await startRun();
      await until(run, DNS, 'Running');
      await until(run, PAUSE, 'Succeeded');
      expect(site.called('startReplicaVm')).toEqual([]);
      await expect(ask(run, 'approve', 'start-1/db-01')).rejects.toMatchObject({
        cause: { message: expect.stringContaining('not started yet') },
      });
      await expect(ask(run, 'approve', 'nothing')).rejects.toMatchObject({
        cause: { message: expect.stringContaining('no step nothing') },
      });
      expect(await ask(run, 'approve', DNS, 'r-1')).toMatchObject({ state: 'Succeeded', reason: 'as agreed' });
      expect(await ask(run, 'approve', DNS, 'r-1')).toMatchObject({ state: 'Succeeded' });
      expect((await run.result()).state).toBe('Succeeded');
      expect(site.called('startReplicaVm')).toHaveLength(1);
    });
  });

  it('if rejected, stops the run; VMs that have failed over are released to run to the end', async () => {
    await vault.run(async () => {
      const entity = await vault.protect('db-01');
      const run = await startRun();
      await until(run, DNS, 'Running');
      await ask(run, 'reject', DNS);
      await expect(run.result()).rejects.toMatchObject({
        cause: { type: 'PlanStopped', message: expect.stringContaining('rejected: as agreed') },
      });
      await vault.until(entity, ({ item }) => item.phase === 'FailedOver');
      const { steps } = await run.query(messages.planRunQuery);
      expect(steps.find(({ id }) => id === 'start-1/db-01')).toMatchObject({ state: 'Succeeded' });
    });
  });

  it('can be skipped, and so can a wait', async () => {
    await vault.run(async () => {
      await vault.protect('db-01');
      const run = await startRun();
      await until(run, DNS, 'Running');
      await ask(run, 'skipStep', PAUSE);
      await ask(run, 'skipStep', DNS);
      const { steps } = await run.result();
      expect(steps.filter(({ stage }) => stage === 'switch').map(({ state }) => state)).toEqual(['Skipped', 'Skipped']);
    });
  });
});

it("a machine's step that waits for an operator is retried by its name", async () => {
  await vault.run(async () => {
    const entity = await vault.protect('db-01');
    site.fail('shutDownVm', 'InvalidVmState', 1);
    const run = await vault.startPlan('again', groups);
    await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
    expect(await ask(run, 'retryStep', 'shut-down-1/db-01')).toMatchObject({ attempts: 2 });
    expect((await run.result()).state).toBe('Succeeded');
  });
});

it('an aborted run ends in order, says why, and accepts nothing more', async () => {
  await vault.run(async () => {
    const entity = await vault.protect('db-01');
    site.fail('cutAndShip', 'NetworkError');
    const run = await vault.startPlan('aborted', groups);
    await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
    const abort = () => run.executeUpdate(messages.abortRunUpdate, { args: [{ requestId: 'a', reason: 'a drill' }] });
    await abort();
    await expect(run.result()).rejects.toMatchObject({ cause: { type: 'PlanStopped', message: 'a drill' } });
    await vault.until(entity, ({ item }) => item.job === undefined);
    expect(site.called('startVm')).toHaveLength(1);
    expect(await run.query(messages.planRunQuery)).toMatchObject({ state: 'Cancelled', failure: 'a drill' });
  });
});
