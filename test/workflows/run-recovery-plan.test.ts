import { beforeEach, describe, expect, it } from 'vitest';
import * as messages from '../../workflows/messages.js';
import type { SimulatedSite } from './simulated-site.js';
import { skippedTime } from './skipped-time.js';
import type { TestVault } from './test-vault.js';

const time = skippedTime();
let site: SimulatedSite;
let vault: TestVault;
beforeEach(() => {
  ({ site, vault } = time.setUp());
});

const groups = [
  { name: 'data', vms: ['db-01'] },
  { name: 'front', vms: ['app-01', 'web-01'] },
];
const protectAll = () => Promise.all(['db-01', 'app-01', 'web-01'].map((vm) => vault.protect(vm)));
const positions = (name: Parameters<SimulatedSite['called']>[0], vm?: string) =>
  site.called(name, vm).map((call) => site.calls.indexOf(call));

it('checks all VMs, shuts down in reverse order, fails over in parallel, and starts the groups in order', async () => {
  await vault.run(async () => {
    await protectAll();
    const run = await (await vault.startPlan('three-tier', groups)).result();
    expect(run.machines.map(({ vm, state }) => [vm, state])).toEqual([
      ['db-01', 'Succeeded'],
      ['app-01', 'Succeeded'],
      ['web-01', 'Succeeded'],
    ]);
    expect(Math.max(...positions('checkFailoverTarget'))).toBeLessThan(Math.min(...positions('shutDownVm')));
    expect(positions('shutDownVm', 'db-01')[0]).toBe(Math.max(...positions('shutDownVm')));
    expect(Math.max(...positions('shutDownVm'))).toBeLessThan(Math.min(...positions('startFailover')));
    expect(Math.max(...positions('startFailover'))).toBeLessThan(Math.min(...positions('startReplicaVm')));
    expect(positions('startReplicaVm', 'db-01')[0]).toBe(Math.min(...positions('startReplicaVm')));
  });
});

it('changes nothing if one machine is not protected', async () => {
  await vault.run(async () => {
    await vault.protect('db-01');
    // It would end just as its job is cancelled, which is too much for the test server: see stuck-server.ts.
    site.holdUntilCancelled('checkFailoverSource');
    const run = await vault.startPlan('refused', groups);
    await expect(run.result()).rejects.toMatchObject({ cause: { type: 'PlanStopped' } });
    expect(site.called('shutDownVm')).toHaveLength(0);
    const { item } = await vault.until(vault.entity('db-01'), (view) => view.item.job === undefined);
    expect(item.phase).toBe('Protected');
  });
});

it('waits while a step waits for an operator, and continues after `retry`', async () => {
  await vault.run(async () => {
    await protectAll();
    site.fail('startFailover', 'InvalidReplicaState', 1);
    const run = await vault.startPlan('waits', groups);
    const waiting = async () => {
      for (const vm of ['db-01', 'app-01', 'web-01']) {
        if ((await vault.view(vm)).item.job?.retry?.nextTryAt === undefined && (await vault.view(vm)).item.job?.retry)
          return vm;
      }
      return undefined;
    };
    let vm: string | undefined;
    for (let poll = 0; poll < 100 && vm === undefined; poll += 1) {
      await time.env.sleep(1_000);
      vm = await waiting();
    }
    expect((await run.query(messages.planRunQuery)).state).toBe('InProgress');
    expect(site.called('startReplicaVm')).toHaveLength(0);
    await vault.entity(vm!).executeUpdate(messages.retryUpdate, { args: [{ requestId: 'again' }] });
    expect((await run.result()).state).toBe('Succeeded');
  });
});

it('if cancelled before the point of no return, starts the sources again', async () => {
  await vault.run(async () => {
    await protectAll();
    site.fail('cutAndShip', 'NetworkError');
    const run = await vault.startPlan('cancelled', groups);
    // Cancelled while an activity is under way they might leave the test server stuck: see stuck-server.ts.
    for (const vm of ['db-01', 'app-01', 'web-01']) {
      await vault.until(vault.entity(vm), ({ item }) => item.job?.retry !== undefined);
    }
    await run.cancel();
    await expect(run.result()).rejects.toThrow();
    expect(site.called('startVm')).toHaveLength(3);
    expect(site.called('startFailover')).toHaveLength(0);
    for (const vm of ['db-01', 'app-01', 'web-01']) expect((await vault.view(vm)).item.phase).toBe('Protected');
  });
});

describe('when one side dies, the other notices', () => {
  const job = async (vm: string) => {
    const { item } = await vault.view(vm);
    return time.env.client.workflow.getHandle(item.job!.jobId);
  };
  it('a held job ends in order when its plan run is terminated, and its source starts again', async () => {
    await vault.run(async () => {
      await protectAll();
      site.fail('shutDownVm', 'HypervisorUnreachable');
      const run = await vault.startPlan('terminated', groups);
      await vault.until(vault.entity('app-01'), ({ item }) => item.job?.retry !== undefined);
      await run.terminate('by hand');
      const waiting = await job('db-01');
      site.heal('shutDownVm');
      await expect(waiting.result()).rejects.toMatchObject({ cause: { type: 'PlanGone' } });
      // These come to their gate once nobody is there any more.
      for (const vm of ['app-01', 'web-01']) {
        const { item } = await vault.until(vault.entity(vm), (view) => view.item.job === undefined, 10_000);
        expect(item).toMatchObject({ phase: 'Protected', activeSide: 'primary' });
        expect(item.recentJobs.at(-1)).toMatchObject({ outcome: 'failed', failure: { code: 'PlanGone' } });
        expect(site.called('startVm', vm)).toHaveLength(1);
      }
      expect(site.called('startFailover')).toEqual([]);
    });
  });

  it('a job that can only move forward continues without its plan run', async () => {
    await vault.run(async () => {
      await vault.protect('db-01');
      site.fail('startFailover', 'StoreUnreachable');
      const run = await vault.startPlan('forward', [{ name: 'data', vms: ['db-01'] }]);
      await vault.until(vault.entity('db-01'), ({ item }) => item.job?.retry !== undefined);
      await run.terminate('by hand');
      site.heal('startFailover');
      await vault.until(vault.entity('db-01'), ({ item }) => item.phase === 'FailedOver', 60_000);
    });
  });

  it('a plan run stops in order when a job that it holds is terminated', async () => {
    await vault.run(async () => {
      await protectAll();
      site.fail('cutAndShip', 'NetworkError');
      const run = await vault.startPlan('job-gone', groups);
      for (const vm of ['db-01', 'app-01', 'web-01']) {
        await vault.until(vault.entity(vm), ({ item }) => item.job?.retry !== undefined);
      }
      await (await job('app-01')).terminate('by hand');
      await expect(run.result()).rejects.toMatchObject({
        cause: { type: 'PlanStopped', message: expect.stringContaining('app-01: its job was closed from outside') },
      });
      for (const vm of ['db-01', 'web-01']) {
        await vault.until(vault.entity(vm), ({ item }) => item.job === undefined);
        expect(site.called('startVm', vm)).toHaveLength(1);
      }
      const { item, health } = await vault.until(vault.entity('app-01'), (view) => view.item.job === undefined, 60_000);
      expect(item.leftovers).toMatchObject([{ what: 'startSource' }]);
      expect(health).toBe('Critical');
    });
  });

  it('a plan run does not leave other VMs shut down when a job that it releases is gone', async () => {
    await vault.run(async () => {
      await protectAll();
      const shutDown = site.gate('shutDownVm');
      const run = await vault.startPlan('held-gone', groups);
      await vault.until(vault.entity('db-01'), () => site.called('shutDownVm').length === 2);
      const held = await job('db-01');
      expect((await vault.job(held.workflowId)).heldBefore).toBe('Shut down the virtual machine');
      await held.terminate('by hand');
      // Sooner than anybody asks whether it is still there.
      shutDown();
      await expect(run.result()).rejects.toMatchObject({
        cause: { type: 'PlanStopped', message: expect.stringContaining('db-01: its job was closed from outside') },
      });
      for (const vm of ['app-01', 'web-01']) {
        const { item } = await vault.until(vault.entity(vm), (view) => view.item.job === undefined);
        expect(item).toMatchObject({ phase: 'Protected', activeSide: 'primary' });
        expect(site.called('startVm', vm)).toHaveLength(1);
      }
      expect(site.called('startFailover')).toEqual([]);
    });
  });
});
