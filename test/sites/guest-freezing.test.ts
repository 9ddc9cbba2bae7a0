import { once } from 'node:events';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ChildProcess } from 'node:child_process';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createSourceActivities } from '../../activities/source.js';
import { createTargetActivities } from '../../activities/target.js';
import { listRecoveryPoints } from '../../replication/recovery-points.js';
import { HypervisorClient } from '../../sites/hypervisor/control-client.js';
import { verifyNumbered } from '../../sites/nbd/numbered-writer.js';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import type { RecoveryCompute } from '../../ports/recovery-compute.js';
import { ChildProgram } from '../support/child-program.js';
import { GuestAgentServer, type Unhelpful } from '../support/guest-agent.js';
import { HypervisorProcess } from '../support/hypervisor-process.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { readDisk } from '../support/replica-disks.js';

const MIB = 2 ** 20;
const SIZE = 32 * MIB;
const REGION = { offset: 0, length: 4 * MIB };
const VM = 'vm';
const DISKS = ['os', 'data'];

const endings: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end();
});

let program: ChildProgram;
beforeAll(async () => {
  program = await ChildProgram.compile('test/support/guest-with-agent.ts');
});
afterAll(() => program.remove());

async function startHypervisor(options: { agent: boolean }) {
  const folder = await temporaryFolder();
  for (const disk of DISKS) {
    await writeFile(join(folder, `${disk}.img`), '');
    await truncate(join(folder, `${disk}.img`), SIZE);
  }
  const agentSocket = join(folder, 'agent.sock');
  const process = await HypervisorProcess.configure(folder, 'hv', {
    vms: [
      {
        name: VM,
        disks: DISKS.map((name) => ({ name, path: join(folder, `${name}.img`) })),
        ...(options.agent && { guestAgent: agentSocket }),
      },
    ],
  });
  await process.start();
  endings.push(() => process.kill());
  return { folder, agentSocket, process, hypervisor: new HypervisorClient(process.controlSocket) };
}

/** Tracks, with the snapshot merged: cuts can be made. */
async function replicated(options: { agent: boolean }) {
  const site = await startHypervisor(options);
  await site.hypervisor.beginReplication(VM, 1);
  while ((await site.hypervisor.mergeSnapshot(VM)) > 0);
  return site;
}

interface Told {
  readonly event: string;
  readonly taken: readonly number[];
}

/** The guest with its applications and its agent, and what it has told. */
class Guest {
  readonly told: Told[] = [];

  private constructor(child: ChildProcess) {
    createInterface(child.stdout!).on('line', (line) => this.told.push(JSON.parse(line) as Told));
  }

  static async start(hypervisor: HypervisorClient, agentSocket: string, unhelpful: Unhelpful = {}): Promise<Guest> {
    const { disks } = await hypervisor.describeVm(VM);
    const served = disks.map(({ name, nbdUri }) => `${name}=${nbdUri}`);
    const child = program.start(agentSocket, JSON.stringify(unhelpful), ...served);
    endings.push(async () => {
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    });
    const guest = new Guest(child);
    await guest.until('ready');
    // So that there is something in its memory as well as on the disks.
    await sleep(300);
    return guest;
  }

  /** The n-th event of a kind. */
  async until(event: string, nth = 1): Promise<Told> {
    for (;;) {
      const found = this.told.filter((told) => told.event === event)[nth - 1];
      if (found) return found;
      await sleep(10);
    }
  }
}

const cutFrozen = (hypervisor: HypervisorClient, sequence: number, deadlineMs = 10_000) =>
  hypervisor.cut(VM, { epoch: 1, sequence }, { appConsistent: { deadlineMs } });

describe('an app-consistent point', () => {
  test(
    'contains, on all disks, exactly the data that the guest had flushed when it was frozen',
    { timeout: 120_000 },
    async () => {
      const { folder, agentSocket, hypervisor } = await startHypervisor({ agent: true });
      const guest = await Guest.start(hypervisor, agentSocket);
      const store = await EmbeddedReplicaStore.open(join(folder, 'store'), { create: true });
      endings.push(() => store.close());
      const primary = createSourceActivities({ source: hypervisor, store });
      const none = () => Promise.resolve([]);
      const compute = { listVms: none, listTestVms: none } as Partial<RecoveryCompute> as RecoveryCompute;
      const azure = createTargetActivities({ store, compute, networks: [] });
      const context = new MockActivityEnvironment();
      const run = <I, O>(activity: (input: I) => Promise<O>, input: I): Promise<O> => context.run(activity, input);

      await run(azure.prepareReplica, {
        description: {
          ...{ vm: VM, host: 'h', vmmServer: 'v', epoch: 1, generation: 2, size: 's', osDisk: 'os', finalized: false },
          disks: DISKS.map((name) => ({ name, size: SIZE, replicaSize: SIZE })),
          networkAdapters: [],
        },
      });
      await run(primary.beginReplication, { vm: VM, epoch: 1 });
      for (const disk of DISKS) {
        await run(primary.copyDisk, { vm: VM, epoch: 1, disk, fromOffset: 0 });
        await run(azure.verifySeed, { vm: VM, epoch: 1, disk });
      }
      while ((await hypervisor.mergeSnapshot(VM)) > 0);

      const frozenAt: (readonly number[] | undefined)[] = [];
      for (const [index, more] of [
        {},
        { appConsistent: true, tags: ['a', 'b'] },
        { appConsistent: true },
        {},
      ].entries()) {
        const cycle = { vm: VM, epoch: 1, sequence: index + 1 };
        const before = guest.told.length;
        const shipped = await run(primary.cutAndShip, { ...cycle, ...more });
        expect(shipped.appConsistentFailure).toBeUndefined();
        expect(shipped.appConsistent).toBe('appConsistent' in more ? true : undefined);
        const applied = await run(azure.applyCycle, { ...cycle, retentionHours: 2 });
        if (index >= 1) expect(applied.namedPoints).toEqual(['a', 'b'].map((tag) => ({ tag, id: '0001-00000002' })));
        // The guest is not kept from its work for longer than the cut takes.
        const [frozen, thawed] = guest.told.slice(before);
        expect(frozen?.taken).toEqual(thawed?.taken);
        frozenAt.push(frozen?.taken);
        await sleep(100);
      }
      const points = await listRecoveryPoints(store, VM);
      expect(points.map(({ kind, tags }) => [kind, tags])).toEqual([
        ['crashConsistent', undefined],
        ['appConsistent', ['a', 'b']],
        ['appConsistent', undefined],
        ['crashConsistent', undefined],
      ]);
      for (const [index, point] of points.entries()) {
        for (const [d, disk] of DISKS.entries()) {
          const { snapshot } = point.disks.find(({ name }) => name === disk)!;
          const source = {
            read: async (target: Buffer, offset: number) => {
              (await readDisk(store.disks, { vm: VM, disk }, offset, target.length, snapshot)).copy(target);
            },
          };
          const { last, faults } = await verifyNumbered(source, disk, REGION);
          expect(faults).toEqual([]);
          expect(last).toBeGreaterThan(0);
          if (frozenAt[index]) expect(last, `${point.id} ${disk}`).toBe(frozenAt[index][d]);
        }
      }
      expect(frozenAt.map((taken) => taken !== undefined)).toEqual([false, true, true, false]);
      const later = await guest.until('thawed', 2);
      expect(later.taken[0]).toBeGreaterThan(frozenAt[1]![0]!);
    },
  );

  test('a hypervisor that is killed between freezing and thawing thaws the guest when it starts again', async () => {
    const { agentSocket, process, hypervisor } = await replicated({ agent: true });
    const guest = await Guest.start(hypervisor, agentSocket, { answerAfterMs: 1_500 });
    const cutting = cutFrozen(hypervisor, 1).catch((error: unknown) => error);
    await guest.until('frozen');
    await process.kill();
    expect(await cutting).toMatchObject({ code: 'HypervisorUnreachable' });
    await sleep(200);
    expect(guest.told.some(({ event }) => event === 'thawed')).toBe(false);
    await process.start();
    // It says that it is ready only once the guest has thawed.
    expect(guest.told.at(-1)).toMatchObject({ event: 'thawed' });
    const repeated = await cutFrozen(hypervisor, 1);
    expect(repeated).toMatchObject({ sequence: 1 });
    expect(repeated.appConsistent === true).toBe(guest.told.filter(({ event }) => event === 'frozen').length === 2);
    expect((await hypervisor.describeVm(VM)).tracking?.resyncCause).toBeUndefined();
    // The guest has its disks again after a moment, and can be frozen again.
    let sequence = 2;
    let next = await cutFrozen(hypervisor, sequence);
    while (!next.appConsistent) {
      expect(next.appConsistentFailure?.message).toContain('agent.sock: the connection is gone');
      await sleep(200);
      next = await cutFrozen(hypervisor, (sequence += 1));
    }
    // Also after another death the outcome of a cut is known.
    await process.kill();
    await process.start();
    expect(await cutFrozen(hypervisor, sequence)).toEqual(next);
    expect(await hypervisor.cut(VM, { epoch: 1, sequence })).toEqual(next);
  });
});

describe('a guest that can’t be frozen gives a crash-consistent cut that says why', () => {
  const noGuest = { freeze: () => Promise.resolve(), thaw: () => Promise.resolve() };
  async function withAgent(unhelpful: Unhelpful) {
    const site = await replicated({ agent: true });
    const agent = await GuestAgentServer.listen(site.agentSocket, noGuest, unhelpful);
    endings.push(() => agent.close());
    return { ...site, agent };
  }
  const failure = (message: string | RegExp) => ({
    appConsistentFailure: { reason: 'AppConsistentFailed', message: expect.stringMatching(message) as string },
  });

  test('the VM has no agent', async () => {
    const { hypervisor } = await replicated({ agent: false });
    const cut = await cutFrozen(hypervisor, 1);
    expect(cut.appConsistent).toBeUndefined();
    expect(cut.appConsistentFailure).toEqual({ reason: 'GuestAgentMissing', message: 'vm has no guest agent' });
    expect(await cutFrozen(hypervisor, 1)).toEqual(cut);
  });

  test("the agent's socket does not exist", async () => {
    const { hypervisor, process } = await replicated({ agent: true });
    expect(await cutFrozen(hypervisor, 1)).toMatchObject(failure('agent.sock'));
    // It was not asked to freeze, so nobody waits for it to thaw.
    await process.kill();
    await process.start();
    expect(process.stderr).not.toContain('may be frozen');
  });

  test.each([
    ['says no', { error: 'fsfreeze hook has failed' }, 'fsfreeze hook has failed'],
    ['has nothing to freeze', { fileSystems: 0 }, 'no file system'],
    ['thaws by itself', { thawsItself: true }, 'it thawed before'],
  ] as [string, Unhelpful, string][])('it %s', async (_, unhelpful, message) => {
    const { hypervisor, agent } = await withAgent(unhelpful);
    expect(await cutFrozen(hypervisor, 1)).toMatchObject(failure(message));
    expect(agent.commands.at(-1)).toBe('guest-fsfreeze-thaw');
    expect(agent.frozen).toBe(false);
  });

  test('the agent does not answer in time; the guest is thawed as soon as it does', async () => {
    const { hypervisor, agent } = await withAgent({ answerAfterMs: 1_500 });
    const started = performance.now();
    expect(await cutFrozen(hypervisor, 1, 500)).toMatchObject(failure('no answer to guest-fsfreeze-freeze in time'));
    expect(performance.now() - started).toBeLessThan(10_000);
    while (agent.frozen) await sleep(20);
    expect(agent.commands).toContain('guest-fsfreeze-thaw');
    agent.unhelpful.answerAfterMs = 0;
    await expect.poll(async () => (await cutFrozen(hypervisor, 2)).appConsistent).toBe(true);
  });

  test('another program has frozen the guest: it stays frozen', async () => {
    const { hypervisor, agent } = await withAgent({});
    agent.frozen = true;
    expect(await cutFrozen(hypervisor, 1)).toMatchObject(failure('another program'));
    expect(agent.frozen).toBe(true);
    expect(agent.commands).toEqual(['guest-fsfreeze-status']);
  });

  test('the guest does not thaw: the thaw is retried, and the guest is not frozen again before it succeeds', async () => {
    const { hypervisor, agent, process } = await withAgent({ refuseThaws: 3 });
    expect(await cutFrozen(hypervisor, 1)).toMatchObject(failure('may still be frozen'));
    expect(agent.frozen).toBe(true);
    await expect.poll(() => agent.frozen, { timeout: 20_000 }).toBe(false);
    expect(process.stderr.match(/may be frozen/g)).toHaveLength(1);
    expect(await cutFrozen(hypervisor, 2)).toMatchObject({ appConsistent: true });
    expect(agent.frozen).toBe(false);
  });

  test('a refused cut leaves no guest frozen', async () => {
    const { hypervisor, agent } = await withAgent({});
    await expect(cutFrozen(hypervisor, 9)).rejects.toMatchObject({ code: 'OutOfSequence' });
    expect(agent.frozen).toBe(false);
    expect(agent.commands).toEqual([]);
  });
});
