import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import * as messages from '../../workflows/messages.js';
import { skippedTime } from './skipped-time.js';

const time = skippedTime();
const { setUp } = time;
const request = () => ({ args: [{ requestId: randomUUID() }] as [messages.JobOperationRequest] });

describe('a planned failover if one of the participants does not answer', () => {
  const cases = [
    {
      call: 'checkFailoverSource',
      code: 'HypervisorUnreachable',
      start: /^Restart it: farshore hypervisor --host \S+\. .*Then fail over again\.$/,
    },
    {
      call: 'checkSource',
      code: 'AgentNotAnswering',
      start: /farshore worker --role host --name \S+\. .*Then fail over again\.$/,
    },
  ] as const;
  it.each(cases)('ends before anything is changed, and cycles continue: $code', async ({ call, code, start }) => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-01');
      site.fail(call, code);
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
      const { item } = await vault.until(entity, (view) => view.item.recentJobs.at(-1)?.id === jobId, 10_000);
      expect(item).toMatchObject({ phase: 'Protected', activeSide: 'primary' });
      expect(await vault.job(jobId)).toMatchObject({
        state: 'Failed',
        failure: {
          message: expect.stringContaining('nothing was changed, and replication continues'),
          remedy: expect.stringMatching(start),
        },
      });
      expect(site.called('shutDownVm')).toEqual([]);
      const sent = item.shipped?.sequence ?? 0;
      await vault.until(entity, (view) => (view.item.shipped?.sequence ?? 0) > sent, 30_000);
    });
  });

  it('ends a plan run, and none of its VMs is shut down', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      await Promise.all(['db-01', 'app-01'].map((vm) => vault.protect(vm)));
      site.fail('checkFailoverSource', 'HypervisorUnreachable', 1);
      // The other would end just as its job is cancelled, which is too much for the test server: see stuck-server.ts.
      site.holdUntilCancelled('checkFailoverTarget');
      const run = await vault.startPlan('silent', [{ name: 'all', vms: ['db-01', 'app-01'] }]);
      await expect(run.result()).rejects.toMatchObject({
        cause: { type: 'PlanStopped', message: expect.stringContaining('nothing was changed') },
      });
      expect(site.called('shutDownVm')).toEqual([]);
      for (const vm of ['db-01', 'app-01']) {
        const { item } = await vault.until(vault.entity(vm), (view) => view.item.job === undefined, 10_000);
        expect(item.phase).toBe('Protected');
      }
    });
  });
});
