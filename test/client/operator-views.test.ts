/** `status --watch` and `infrastructure` against a real instance, in a real terminal; the tests build on each other. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, onTestFinished, test, type TestContext } from 'vitest';
import type { Infrastructure } from '../../client/infrastructure/infrastructure.js';
import type { Snapshot } from '../../client/watch/render.js';
import { DataFolder } from '../../config/data-folder.js';
import { ENTER, LEAVE, PseudoTerminal } from '../support/pseudo-terminal.js';
import { requireReader } from '../support/readers.js';
import { checkAnswer } from './answer-check.js';
import { cliPath, makeSite, Shell } from './command.js';

const SOON = { timeout: 30_000 };

let shell: Shell;
beforeAll(async () => {
  shell = new Shell(await mkdtemp(join(tmpdir(), 'farshore-views-')));
  await makeSite(shell);
  expect((await shell.run('up', '--detach')).code).toBe(0);
  expect((await shell.run('protect', 'web-01', '--wait')).code).toBe(0);
}, 180_000);
afterAll(async () => {
  await shell.run('down');
  await rm(shell.folder, { recursive: true, force: true });
});

/** The settings of the terminal are told before and after, and how the command ended. */
const watched = (env: NodeJS.ProcessEnv = {}) =>
  `echo "before:$(stty -g)"; ${env['NO_COLOR'] === undefined ? '' : 'NO_COLOR=1 '}sh -c 'echo "pid:$$"; exec ${process.execPath} ${cliPath} status --watch --interval 1'; echo "code:$?"; echo "after:$(stty -g)"`;

function watch(context: TestContext, env: NodeJS.ProcessEnv = {}): PseudoTerminal {
  requireReader('script', context);
  const terminal = PseudoTerminal.start(watched(env), shell.folder, shell.env, [100, 20]);
  onTestFinished(() => terminal.kill());
  return terminal;
}

function expectGivenBack(written: string): void {
  const [, after] = written.split(LEAVE);
  expect(written.split(ENTER)).toHaveLength(2);
  // Cursor and line wrap, too.
  expect(written).toContain('\u001b[?7h\u001b[?25h\u001b[?1049l');
  const settings = /before:(\S+)/.exec(written)?.[1];
  expect(settings).toBeDefined();
  expect(after).toContain(`after:${settings}`);
}

test('in a terminal it shows the VMs in place, in color, follows the window size, and ends with q', async (context) => {
  const terminal = watch(context);
  await expect.poll(() => terminal.screen, SOON).toMatch(/web-01 +Protected +primary +Normal +\d+ s +.* in \d+ s/);
  expect(terminal.screen).toMatch(/db-01 +Unprotected/);
  expect(terminal.written).toContain('\u001b[32mNormal');
  // Drawn over what was there: nothing is cleared as a whole, so nothing flickers.
  expect(terminal.written.slice(terminal.written.indexOf(ENTER))).not.toContain('\u001b[2J');
  terminal.resize(40, 6);
  const lines = () => terminal.screen.split(/\r*\n/);
  await expect.poll(() => Math.max(...lines().map((line) => line.length)), SOON).toBeLessThanOrEqual(40);
  expect(lines().length).toBeLessThanOrEqual(6);
  terminal.type('q');
  const written = await terminal.end();
  expect(written).toContain('code:0');
  expectGivenBack(written);
});

test('Ctrl-C and SIGTERM restore the terminal; NO_COLOR is respected', async (context) => {
  const typed = watch(context, { NO_COLOR: '1' });
  await expect.poll(() => typed.screen, SOON).toMatch(/web-01 +Protected/);
  // eslint-disable-next-line no-control-regex
  expect(typed.written).not.toMatch(/\u001b\[\d+m/);
  typed.type('\u0003');
  expectGivenBack(await typed.end());
  const told = watch(context);
  await expect.poll(() => told.screen, SOON).toMatch(/web-01 +Protected/);
  process.kill(Number(/pid:(\d+)/.exec(told.written)![1]), 'SIGTERM');
  expectGivenBack(await told.end());
});

test('it reports when Temporal does not answer, keeps the last known state, and notices that it is back', async (context) => {
  const terminal = watch(context);
  await expect.poll(() => terminal.screen, SOON).toMatch(/web-01 +Protected/);
  const { temporal } = (await new DataFolder(join(shell.folder, '.farshore')).readInstance())!;
  process.kill(temporal.pid!, 'SIGSTOP');
  try {
    await expect
      .poll(() => terminal.screen, SOON)
      .toMatch(/Temporal does not answer.*This view is .* old\. Retrying\./);
    expect(terminal.screen).toMatch(/web-01 +Protected/);
  } finally {
    process.kill(temporal.pid!, 'SIGCONT');
  }
  await expect.poll(() => terminal.screen, SOON).not.toContain('does not answer');
  terminal.type('q');
  expectGivenBack(await terminal.end());
});

test('an error that does not come from Temporal restores the terminal and is reported', async (context) => {
  const terminal = watch(context);
  await expect.poll(() => terminal.screen, SOON).toMatch(/web-01 +Protected/);
  const { temporal } = (await new DataFolder(join(shell.folder, '.farshore')).readInstance())!;
  const site = await shell.read('site.yaml');
  process.kill(temporal.pid!, 'SIGSTOP');
  try {
    // Read anew when Temporal is looked for anew.
    await shell.write('site.yaml', 'vault: 7\n');
    const written = await terminal.end();
    expectGivenBack(written);
    expect(written).toMatch(/farshore: .*site\.yaml[^]*code:3/);
  } finally {
    process.kill(temporal.pid!, 'SIGCONT');
    await shell.write('site.yaml', site);
  }
});

test.each([[[]], [['--json']]])('without a terminal it prints one answer after the other, with %j', async (args) => {
  const child = spawn(process.execPath, [cliPath, 'status', '--watch', '--interval', '1', ...args], {
    cwd: shell.folder,
    env: shell.env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const ended = once(child, 'exit');
  const lines: string[] = [];
  for await (const line of createInterface(child.stdout)) {
    lines.push(line);
    if (lines.filter((each) => each.includes('web-01')).length === 2) break;
  }
  child.stdout.resume();
  child.kill('SIGTERM');
  expect(await ended).toEqual([0, null]);
  expect(lines.join('\n')).not.toContain('\u001b');
  if (args.length === 0) {
    expect(lines.filter((line) => line.startsWith('Vault vault-1  2 VMs:  1 Normal'))).toHaveLength(2);
    return;
  }
  for (const line of lines) expect(checkAnswer(JSON.parse(line))).toBe('status --watch');
  const [first, second] = lines.map((line) => JSON.parse(line) as Snapshot);
  expect(first).toMatchObject({ vault: 'vault-1', health: 'Normal', attention: [] });
  expect(first!.vms).toMatchObject([
    { vm: 'web-01', phase: 'Protected', health: 'Normal', lastCycle: { sequence: expect.any(Number) } },
    { vm: 'db-01', phase: 'Unprotected' },
  ]);
  expect(Date.parse(second!.at)).toBeGreaterThan(Date.parse(first!.at));
});

test('an unplanned failover of a VM whose host answers requires its name to be typed', async (context) => {
  requireReader('script', context);
  const command = `${process.execPath} ${cliPath} failover web-01 --type unplanned; echo "code:$?"`;
  const terminal = PseudoTerminal.start(command, shell.folder, shell.env, [200, 20]);
  onTestFinished(() => terminal.kill());
  await expect.poll(() => terminal.written, SOON).toContain('To do it anyway, type web-01: ');
  expect(terminal.written).toContain('its host h1 answers, and the VM runs there; a planned failover loses nothing');
  terminal.type('yes\r');
  const written = await terminal.end();
  expect(written).toMatch(/not confirmed; nothing was done[^]*code:3/);
  expect((await shell.json('vm', 'show', 'web-01')).value).toMatchObject({ phase: 'Protected' });
});

test('bad input is refused before anything is drawn', async () => {
  expect(await shell.run('status', '--watch', '--interval', '0')).toMatchObject({ code: 3, stdout: '' });
  expect(await shell.run('open', 'web-01', '--query', 'vault')).toMatchObject({
    code: 3,
    stderr: 'farshore: give either web-01 or --query vault, not both: only one page can be opened\n',
  });
  expect((await shell.run('open')).stderr).toMatch(/name a VM, a job or a plan run, or a saved query with --query/);
  expect((await shell.run('open', 'web-01', '--save')).stderr).toMatch(/name it with --query/);
});

test('infrastructure shows both sites, and which processes are alive', async () => {
  const { code, stdout } = await shell.run('infrastructure');
  expect(code).toBe(0);
  expect(stdout.replaceAll(/last asked for work .* ago/g, 'last asked for work … ago')).toBe(`Vault vault-1
├─ store: embedded, ${join(shell.folder, 'vault')}
├─ Azure worker: last asked for work … ago; not checked whether it answers
├─ recovery compute: answers, replica VMs: 0
└─ Azure network vnet-1: default
VMM server vmm-1
├─ Provider: last asked for work … ago; not checked whether it answers
├─ VM network lan (corporate) -> vnet-1/default
└─ cloud cloud-1
   └─ host h1
      ├─ agent: working
      ├─ hypervisor: answers
      ├─ VM web-01: Protected, Normal, power Running
      │  ├─ disk os: raw, 16.0 MiB, ${join(shell.folder, 'disks/web-os.raw')}
      │  └─ network adapter eth0: lan -> vnet-1/default
      └─ VM db-01: Unprotected, power Running
         ├─ disk os: raw, 16.0 MiB, ${join(shell.folder, 'disks/db-os.raw')}
         └─ disk data: raw, 8.0 MiB, ${join(shell.folder, 'disks/db-data.raw')}
`);
  const { value } = await shell.json('infrastructure');
  const { vault, vmmServers } = value as Infrastructure;
  expect(vault.worker).toMatchObject({ state: 'working', seenAt: expect.any(String) });
  expect(vmmServers[0]!.clouds[0]!.hosts[0]!.vms[0]).toMatchObject({ vm: 'web-01', phase: 'Protected' });
});

test('after its name was typed, it is failed over, whether or not its host answers', async (context) => {
  requireReader('script', context);
  const command = `${process.execPath} ${cliPath} failover web-01 --type unplanned --wait; echo "code:$?"`;
  const terminal = PseudoTerminal.start(command, shell.folder, shell.env, [200, 20]);
  onTestFinished(() => terminal.kill());
  await expect.poll(() => terminal.written, SOON).toContain('To do it anyway, type web-01: ');
  terminal.type(' web-01\r');
  expect(await terminal.end()).toMatch(/web-01 was failed over[^]*code:0/);
  expect((await shell.json('vm', 'show', 'web-01')).value).toMatchObject({ phase: 'FailedOver' });
});
