/**
 * A host that hangs: its processes are there, their connections are open, and nothing of them answers any more. It is told
 * as what it is, by every command alike, and what it costs to fail over from it is not told too low.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { unplannedFailoverResultSchema, type Job } from '../../domain/job.js';
import { newestLook } from '../../temporal/host-hearing.js';
import { NbdGuest } from '../../sites/nbd/guest.js';
import { NumberedWriter } from '../../sites/nbd/numbered-writer.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { SmallSite, VM } from './small-site.js';

const MiB = 1024 * 1024;
const SECOND = 1000;
const AGENT = 'host-hyperv-01';
const HYPERVISOR = 'hypervisor-hyperv-01';
const PROVIDER = 'vmm-vmm-01';
const REGION = { offset: 16 * MiB, length: 8 * MiB };
const PLANNED = ['failover', VM, '--type', 'planned', '--yes', '--data', 'data'];
const UNPLANNED = ['failover', VM, '--type', 'unplanned', '--data', 'data'];
const ISO = String.raw`\d{4}-\d\d-\d\dT[\d:.]+Z`;
const instantIn = (text: string, after: string): string => new RegExp(`${after} (${ISO})`).exec(text)![1]!;

test('all commands report a host that hangs, and do not underestimate the loss', { timeout: 300_000 }, async () => {
  const folder = await temporaryFolder();
  await mkdir(path.join(folder, 'source'));
  const site = await SmallSite.start(folder, 'source');
  const stopped = new Set<number>();
  /** @returns when, ISO 8601. */
  const hang = (...names: string[]): string => {
    for (const name of names) {
      const pid = site.running.processId(name)!;
      stopped.add(pid);
      process.kill(pid, 'SIGSTOP');
    }
    return new Date().toISOString();
  };
  const goOn = () => {
    for (const pid of stopped) process.kill(pid, 'SIGCONT');
    stopped.clear();
  };
  let writing = true;
  let guest: Promise<unknown> = Promise.resolve();
  try {
    await site.farshore.protect(VM);
    await site.until(({ item }) => item.phase === 'Protected' && item.job === undefined && item.applied !== undefined);
    // While it answers, that is said, and a planned failover is the better one.
    const alive = await site.shell.run(...UNPLANNED, '--yes');
    expect(alive).toMatchObject({ code: 3, stderr: expect.stringContaining('its host hyperv-01 answers') });

    // The hypervisor alone: it is to be restarted, and nobody gives the host up by a mere `--yes`, however soon.
    hang(HYPERVISOR);
    const atFirst = await site.shell.run(...UNPLANNED, '--yes');
    expect(atFirst.code).toBe(3);
    expect(atFirst.stderr).toContain('and only its hypervisor does not: restart that, and nothing is lost');
    await site.until(({ conditions }) => conditions[0]?.reason === 'HypervisorUnreachable');
    const givenUp = await site.shell.run(...UNPLANNED, '--yes');
    expect(givenUp.code).toBe(3);
    expect(givenUp.stderr).toContain('and nothing is lost: farshore hypervisor --host hyperv-01');
    expect(givenUp.stderr).toContain('add --force to --yes');
    goOn();
    await site.until(({ item: now }) => now.hostTrouble === undefined && now.retry === undefined);
    // Its first look since then.
    const { temporal } = site.farshore;
    await expect.poll(() => newestLook(temporal, 'vault-01', 'hyperv-01'), { timeout: 30_000 }).toBeDefined();

    // The agent alone: the hypervisor goes on, and the agent's polls are open still.
    const hungAt = hang(AGENT);
    // Commands that only show wait for nothing: a host has missed three looks before a word is said of it.
    await sleep(4_000);
    const [planned, unplanned, doctor, atOnce, looked] = await Promise.all([
      site.shell.run(...PLANNED),
      site.shell.run(...UNPLANNED),
      site.shell.json('doctor', '--data', 'data'),
      site.shell.json('status', '--data', 'data'),
      site.shell.json('infrastructure', '--data', 'data'),
    ]);
    expect(planned.code).toBe(3);
    expect(planned.stderr).toMatch(/the agent of host hyperv-01 .*, where the VM is running, does not answer/);
    // Nothing is lost as long as the source runs: only its agent is to be started.
    expect(planned.stderr).toContain('restart: farshore worker --role host --name hyperv-01');
    expect(planned.stderr).not.toContain('--type unplanned');
    expect(unplanned.code).toBe(3);
    expect(unplanned.stderr).not.toContain('its host hyperv-01 answers');
    // Its VM runs on, so that no bound can be told.
    expect(unplanned.stderr).toContain('everything written from then until the source is off is lost');
    expect(unplanned.stderr).toContain('the VM runs on host hyperv-01, but the agent there does not answer; restart');
    const refused = instantIn(planned.stderr, 'last heard at');
    expect(refused <= hungAt).toBe(true);

    // Its VM may have been told of it by now, or not: neither way is it called well, nor its agent.
    const checks = (doctor.value as { checks: { check: string }[] }).checks;
    expect(checks.filter(({ check }) => check === 'Replication')).toMatchObject([{ host: 'hyperv-01', vms: [VM] }]);
    expect(checks).toContainEqual(
      expect.objectContaining({
        check: 'Task queue host:vault-01/hyperv-01',
        status: 'problem',
        message: expect.stringContaining('its worker does not answer, and was last heard'),
      }),
    );
    expect(atOnce.value).toMatchObject({ attention: [{ host: 'hyperv-01', vms: [VM] }] });
    expect(looked.value).toMatchObject({
      vmmServers: [{ clouds: [{ hosts: [{ agent: { state: 'silent' } }] }] }],
    });
    const unnoticed = await site.shell.json('vm', 'show', VM, '--data', 'data');
    expect(unnoticed.value).toMatchObject({
      // Its hypervisor answers: there is nothing to be given up.
      next: expect.stringMatching(/^farshore worker --role host --name hyperv-01 /),
      operations: {
        plannedFailover: { allowed: false, reason: expect.stringContaining(`(last heard at ${refused})`) },
        sync: { allowed: true, waitsFor: 'host hyperv-01, which is not answering' },
      },
    });

    const { item } = await site.until(({ conditions }) => conditions[0]?.reason === 'AgentNotAnswering');
    const heardAt = item.hostTrouble!.heardAt!;
    expect(heardAt).toBe(refused);
    expect(item.hostTrouble!.since >= heardAt).toBe(true);
    const [shown, status, tree, asked] = [
      await site.shell.json('vm', 'show', VM, '--data', 'data'),
      await site.shell.json('status', '--data', 'data'),
      await site.shell.json('infrastructure', '--data', 'data'),
      await site.shell.run(...PLANNED),
    ];
    expect(JSON.stringify(shown.value)).toContain(`(last heard at ${heardAt})`);
    expect(status.value).toMatchObject({
      attention: [{ host: 'hyperv-01', vms: [VM], heardAt, since: item.hostTrouble!.since }],
    });
    expect(tree.value).toMatchObject({
      vmmServers: [{ clouds: [{ hosts: [{ agent: { state: 'silent', seenAt: heardAt } }] }] }],
    });
    expect(asked.stderr).toContain(`last heard at ${heardAt}`);
    goOn();
    await site.until(({ item: now }) => now.hostTrouble === undefined && now.retry === undefined);

    // All of it, in the middle of a guest's writing, and nobody waits until that is on the board.
    const disk = await NbdGuest.connect((await site.diskUris())[0]!);
    const writer = await NumberedWriter.resume(disk, 'os', REGION);
    /** The guest's own journal: when its newest write was acknowledged. */
    let journal = 0;
    const write = async () => {
      while (writing) {
        await writer.writeNext();
        journal = Date.now();
      }
    };
    guest = write().catch(() => undefined);
    await site.syncNow();
    await expect.poll(() => journal).toBeGreaterThan(Date.now());
    const goneAt = hang(HYPERVISOR, AGENT, PROVIDER);
    const last = journal;
    const shownAtOnce = await site.shell.json('vm', 'show', VM, '--data', 'data');
    expect(shownAtOnce.value).toMatchObject({
      next: expect.stringContaining('--type unplanned'),
      operations: { plannedFailover: { allowed: false } },
    });
    const { value } = await site.shell.json(...UNPLANNED, '--yes', '--wait');
    const result = unplannedFailoverResultSchema.parse((value as { vms: { job: Job }[] }).vms[0]!.job.result);
    expect(result.hostSeenAt! <= goneAt).toBe(true);
    // A look may have been on its way to it.
    expect(Date.parse(result.hostSilentAt!) + SECOND).toBeGreaterThanOrEqual(Date.parse(goneAt));
    const lost = last - Date.parse(result.recoveryPointTime);
    expect((result.rpoSeconds + 1) * SECOND).toBeGreaterThanOrEqual(lost);

    // The source goes on, and nobody can turn it off: that is no board without an alarm.
    process.kill(site.running.processId(HYPERVISOR)!, 'SIGCONT');
    const both = await site.shell.json('status', '--data', 'data');
    expect(both).toMatchObject({
      code: 2,
      value: {
        attention: [
          {
            message: `${VM}: the VM runs at both sites: its source is on, and data written there is not replicated`,
            advice: [expect.stringContaining('farshore worker --role vmm --name vmm-01')],
          },
          expect.anything(),
          expect.anything(),
        ],
      },
    });
    const listed = await site.shell.run('vm', 'list', '--data', 'data');
    expect(listed.stdout).toContain('runs at both sites');
    goOn();
    await site.until(({ item: now }) => now.sourceFence === undefined);
    const { value: fenced } = await site.shell.json('status', '--data', 'data');
    expect(JSON.stringify(fenced)).not.toContain('runs at both sites');
  } finally {
    goOn();
    writing = false;
    await guest;
    await site.stop();
  }
});
