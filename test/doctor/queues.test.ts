/** What `doctor` says of a task queue: who polled it and when, and what is known of the hosts behind it. */
import { expect, test } from 'vitest';
import { toldOf } from '../../domain/host-silence.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { toMs } from '../../domain/time.js';
import { queueFinding, queuesOf } from '../../doctor/queues.js';
import { at, newItem } from '../domain/random-life.js';

const queues = queuesOf('vault-1', {
  vmmServers: [{ name: 'vmm-1' }],
  hosts: [{ name: 'h1', vms: ['db-01'], unnamedVms: [] }],
});
const item: ProtectedItem = { ...newItem(), host: 'h1', vmmServer: 'vmm-1', phase: 'Protected' };
const silent = (who: 'agent' | 'hypervisor') =>
  toldOf(item, { host: 'h1', since: at(990), heardAt: at(988), silent: who });

function found(name: string, items: readonly ProtectedItem[], ...polled: number[]) {
  const queue = queues.find((each) => each.queue.startsWith(name))!;
  const pollers = polled.map((seconds) => ({ identity: `worker-${seconds}`, at: toMs(at(1_000 - seconds)) }));
  return queueFinding(
    queue,
    queue.types.map(() => pollers),
    items,
    toMs(at(1_000)),
  );
}

test('a queue with workers shows when each last polled, the newest first', () => {
  expect(found('vmm', [item], 40, 7)).toEqual({
    status: 'ok',
    message: 'was polled by worker-7, 7 s ago; worker-40, 40 s ago',
  });
  // Nobody watches the host of a VM that runs at the recovery site.
  expect(found('host', [{ ...item, phase: 'Committed', activeSide: 'recovery' }], 41)).toEqual({
    status: 'ok',
    message: 'was polled by worker-41, 41 s ago; a worker that has died since then is noticed only after 1 min 20 s',
  });
  expect(found('host', [item], 81)).toMatchObject({
    status: 'problem',
    message: 'no worker polls it for activities; the last poll was 1 min 21 s ago',
  });
});

test('an agent that does not answer is reported although its polls are open, and its Provider is not reported as ok', () => {
  expect(found('host', [silent('agent')], 5)).toMatchObject({
    status: 'problem',
    message: 'its worker does not answer, and was last heard 12 s ago',
    remedy: 'if it hangs, end it; then start the worker: farshore worker --role host --name h1',
  });
  expect(found('host', [silent('hypervisor')], 5)).toMatchObject({
    status: 'warning',
    message: expect.stringContaining('the hypervisor of h1 does not answer'),
  });
  // One that has asked for work since the host was last heard has outlived it.
  expect(found('vmm', [silent('agent')], 5)).toMatchObject({ status: 'ok' });
  expect(found('vmm', [silent('agent')], 20)).toMatchObject({
    status: 'warning',
    message: 'was polled by worker-20, 20 s ago, but may be down: h1, which it serves, does not answer',
    remedy: expect.stringContaining('farshore worker --role vmm --name vmm-1'),
  });
  expect(found('vmm', [silent('agent'), { ...item, vm: 'web-01', host: 'h2' }], 5)).toMatchObject({ status: 'ok' });
  expect(found('azure', [silent('agent')], 5)).toMatchObject({ status: 'ok' });
});
