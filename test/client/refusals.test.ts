/** What is refused before anything is started: one error each, exit code 3 or 5, and nothing left behind. */
import { access, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { DataFolder } from '../../config/data-folder.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { checkAnswer } from './answer-check.js';
import { MiB, Shell, makeSite, planYaml, siteYaml, type Outcome } from './command.js';

let shell: Shell;
beforeEach(async () => {
  shell = new Shell(await temporaryFolder());
  await makeSite(shell);
});

const exists = (name: string) =>
  access(join(shell.folder, name)).then(
    () => true,
    () => false,
  );

/** Lines of the site file, counted from 1, that hold a text. */
const lineOf = (text: string, content = siteYaml) => content.split('\n').findIndex((line) => line.includes(text)) + 1;

function expectOneError({ code, stdout, stderr }: Outcome, expected: { code: number; error: RegExp }): void {
  expect(stderr).toMatch(expected.error);
  expect({ code, stdout }).toEqual({ code: expected.code, stdout: '' });
  expect(stderr.match(/^farshore: /gm)).toHaveLength(1);
  expect(stderr).not.toMatch(/^ +at /m);
}

describe('an invalid site file', () => {
  const cases: [what: string, change: (site: string) => string, line: string, error: RegExp][] = [
    [
      'an unknown field',
      (site) => site.replace('    policy: fast', '    polcy: fast'),
      'polcy',
      /vms\[0\]\.polcy: unknown field \(value: "fast"\)\n {2}Remedy: remove the field, or correct its spelling/,
    ],
    [
      'a size that is not a multiple of 512',
      (site) => site.replace(`${16 * MiB}`, '1000'),
      'size: 1000',
      /vms\[0\]\.disks\[0\]\.size: must be a multiple of 512 bytes \(value: 1000\)\n {2}Remedy: /,
    ],
    [
      'a size that the disk does not have',
      (site) => site.replace(`${16 * MiB}`, '1024'),
      'size: 1024',
      /disks\[0\]\.size: the disk's virtual size is 16777216 bytes \(value: 1024\)\n {2}Remedy: write 16777216/,
    ],
    [
      'a retention that is too long',
      (site) => site.replace('copyFrequency: 30s', 'recoveryPointRetentionHours: 25'),
      'recoveryPointRetentionHours: 25',
      /policies\[0\]\.recoveryPointRetentionHours: .*24.* \(value: 25\)\n {2}Remedy: /,
    ],
    [
      'a negative frequency',
      (site) => site.replace('copyFrequency: 30s', 'appConsistentFrequencyHours: -1'),
      'appConsistentFrequencyHours: -1',
      /policies\[0\]\.appConsistentFrequencyHours: .*0.* \(value: -1\)\n {2}Remedy: /,
    ],
    [
      'app-consistent points more seldom than they are kept',
      (site) => site.replace('copyFrequency: 30s', 'appConsistentFrequencyHours: 3'),
      'appConsistentFrequencyHours: 3',
      /policies\[0\]\.appConsistentFrequencyHours: .* every 3 h but kept for only 2 h.* \(value: 3\)\n {2}Remedy: write at most 2/,
    ],
    [
      'a guest agent of another VM',
      (site) =>
        site
          .replace('    host: h1\n    disks', '    host: h1\n    guestAgent: agent.sock # again\n    disks')
          .replace('    policy: fast', '    guestAgent: agent.sock'),
      '# again',
      /vms\[1\]\.guestAgent: this socket is already the guest agent of web-01.* \(value: "agent\.sock"\)\n {2}Remedy: give/,
    ],
    [
      'a guest agent too far down',
      (site) => site.replace('    host: h1\n', `    host: h1\n    guestAgent: ${'x'.repeat(110)}\n`),
      'guestAgent',
      /vms\[0\]\.guestAgent: the socket's path, .* is longer than the 107 bytes/,
    ],
    [
      'a name that is used twice',
      (site) => site.replace('name: db-01', 'name: web-01'),
      '- name: web-01',
      /vms\[1\]\.name: this name is already taken by another VM \(value: "web-01"\)\n {2}Remedy: rename/,
    ],
    [
      'a disk that is a replica',
      (site) => site.replace('path: vault', 'path: disks'),
      'path: disks/web-os.raw',
      /vms\[0\]\.disks\[0\]\.path: .*web-os\.raw is inside the replica store, .*\n {2}Remedy: use the VM's own disk/,
    ],
    [
      'a disk that is not there',
      (site) => site.replace('disks/db-data.raw', 'disks/nowhere.raw'),
      'nowhere',
      /vms\[1\]\.disks\[1\]\.path: the disk file .*nowhere\.raw does not exist \(value: "disks\/nowhere\.raw"\)\n {2}Remedy: correct the path/,
    ],
    [
      'a network that is not mapped',
      (site) => site.replace(/networkMappings:\n.*\n.*\n/, ''),
      'vmNetwork: lan',
      /vms\[0\]\.networkAdapters\[0\]\.vmNetwork: this VM network has no mapping .* \(value: "lan"\)\n {2}Remedy: add an entry for lan/,
    ],
    [
      'a field that is missing',
      (site) => site.replace('    host: h1\n    policy', '    policy'),
      '- name: web-01',
      /vms\[0\]\.host: this field is required; expected text\n {2}Remedy: add the field/,
    ],
  ];
  test.each(cases)('%s', async (what, change, line, error) => {
    const changed = change(siteYaml);
    expect(changed).not.toBe(siteYaml);
    await shell.write('site.yaml', changed);
    // The second of the two that share a name is the one that is wrong.
    const number = what.includes('twice')
      ? lineOf('- name: web-01', changed.replace('- name: web-01', ''))
      : lineOf(line, changed);
    const outcomes = [await shell.run('site', 'check'), await shell.runLoaded('up')];
    // One that starts another process, which tells what is wrong.
    if (what === cases[0]![0]) outcomes.push(await shell.run('up', '--detach'), await shell.runAlone('site', 'check'));
    for (const outcome of outcomes) {
      expectOneError(outcome, { code: 3, error });
      expect(outcome.stderr).toContain(`farshore: ${join(shell.folder, 'site.yaml')}:${number}: `);
    }
    expect(await exists('.farshore')).toBe(false);
    expect(await exists('vault')).toBe(false);
  });

  test('no site file', async () => {
    expectOneError(await shell.runLoaded('up', '--site', 'none.yaml'), {
      code: 3,
      error: /none\.yaml:1: \(file\): this site file does not exist\n {2}Remedy: /,
    });
  });

  test('is checked without starting anything', async () => {
    const { code, value } = await shell.json('site', 'check');
    expect(code).toBe(0);
    expect(value).toMatchObject({ vault: 'vault-1', counts: { hosts: 1, vms: 2, disks: 3 } });
    expect(await exists('.farshore')).toBe(false);
  });
});

describe('invalid arguments', () => {
  test.each([
    [['frobnicate'], /unknown command 'frobnicate'/],
    [['status', '--jason'], /unknown option '--jason'/],
    [['protect'], /missing required argument 'vm'/],
    [['failover', 'web-01'], /required option '--type <type>'/],
    [['failover', 'web-01', '--type', 'sudden'], /Allowed choices are planned/],
    [['plan', 'run', 'p.yaml', '--type', 'unplanned'], /farshore failover VM\.\.\. --type unplanned/],
    [['unprotect', 'web-01', '--force', '--yes'], /--force is only for --primary-lost/],
    [['failover', 'web-01', '--type', 'planned', '--force'], /--force is only for --type unplanned/],
    [['failover', 'web-01', '--type', 'planned', '--try-shut-down'], /--try-shut-down is only for --type unplanned/],
    [['vault', 'export', 'web-01', '--to', 'out'], /--point/],
    [['job', 'list', '--limit', '0'], /whole number above 0/],
    [['up', '--temporal-port', '70000'], /1 to 65535/],
    [['worker', '--role', 'chief', '--name', 'h1'], /Allowed choices are azure, vmm, host/],
  ])('%j', async (args, error) => {
    const { code, stdout, stderr } = await shell.runLoaded(...args);
    expect({ code, stdout }).toEqual({ code: 3, stdout: '' });
    expect(stderr).toMatch(error);
  });

  test.each([[[]], [['--help']], [['help']]])(
    'help, asked for by %j, is an answer and tells the exit codes',
    async (args) => {
      const { code, stdout, stderr } = await shell.run(...args);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).toMatch(
        /Exit codes:\n {2}0 .*\n {2}1 .*\n {2}2 .*\n {2}3 .*\n {2}4 .*\n {2}5 .*\n {2}70 .*\n {2}130 /,
      );
    },
  );

  test.each([[['plan', '--help']], [['failover', '--help']], [['help', 'failover']]])(
    'the page of a command, asked for by %j, says where they are',
    async (args) => {
      const { code, stdout, stderr } = await shell.run(...args);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).toMatch(/\nExit codes: farshore --help\n$/);
      expect(stdout).not.toMatch(/unexpected: a bug/);
    },
  );

  test.each([[['--version']], [['-V']]])('%j prints the version', async (args) => {
    const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
    expect(await shell.run(...args)).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
  });
});

describe('with --json, a refusal is an answer, too', () => {
  test.each<[args: string[], error: object]>([
    [['status', '--jason'], { code: 'BadArguments', exitCode: 3, message: expect.stringContaining('--jason') }],
    [['failover', 'web-01'], { code: 'BadArguments', exitCode: 3 }],
    [['status'], { code: 'Unreachable', exitCode: 5, message: expect.stringContaining('no instance is running in') }],
    [
      ['site', 'check', '--site', 'none.yaml'],
      {
        code: 'WrongDocument',
        exitCode: 3,
        line: 1,
        file: expect.stringMatching(/none\.yaml$/),
        remedy: expect.stringMatching(/give the path of an existing/),
      },
    ],
    [
      ['vault', 'list', '--store', 'none'],
      { code: 'StoreUnreachable', exitCode: 5, remedy: expect.stringMatching(/check that it is mounted/) },
    ],
    [['up', '--data', 'file/data'], { code: 'Refused', exitCode: 3 }],
  ])('%j', async (args, error) => {
    await shell.write('file', '');
    const { code, stdout, stderr } = await shell.runLoaded(...args, '--json');
    const answer = JSON.parse(stdout) as { error: { exitCode: number; message: string } };
    expect(checkAnswer(answer)).toBe('error');
    expect(answer).toMatchObject({ version: 1, error });
    expect(answer.error.exitCode).toBe(code);
    // People are told as ever.
    expect(stderr).toContain(answer.error.message.split('\n')[0]);
  });
});

describe('without an instance', () => {
  test.each([
    [['status']],
    [['vm', 'list']],
    [['vm', 'list', '--side', 'recovery']],
    [['vm', 'show', 'web-01']],
    [['protect', 'web-01']],
    [['plan', 'run', 'plan.yaml', '--type', 'planned', '--yes']],
    [['job', 'list']],
    [['open', 'web-01']],
    [['worker', '--role', 'host', '--name', 'h1']],
  ])('%j says how to start one', async (args) => {
    await shell.write('plan.yaml', planYaml);
    expectOneError(await shell.runLoaded(...args), {
      code: 5,
      error:
        /no instance is running in .*\.farshore, and no Temporal is configured: set TEMPORAL_ADDRESS .*`farshore up`/,
    });
  });

  test('down has nothing to do, and succeeds', async () => {
    const { code, value } = await shell.json('down');
    expect(code).toBe(0);
    expect(value).toMatchObject({ stopped: false });
  });

  test('a Temporal server that does not answer is named', async () => {
    const configured = new Shell(shell.folder, { TEMPORAL_ADDRESS: '127.0.0.1:1' });
    expectOneError(await configured.run('status'), { code: 5, error: /Temporal does not answer at 127\.0\.0\.1:1/ });
  });

  test('a profile of Temporal that names no address is bad input', async () => {
    await shell.write('empty.toml', '[profile.default]\n');
    const configured = new Shell(shell.folder, { TEMPORAL_CONFIG_FILE: join(shell.folder, 'empty.toml') });
    for (const command of ['status', 'up']) {
      expectOneError(await configured.runLoaded(command), { code: 3, error: /TEMPORAL_CONFIG_FILE is set, but/ });
    }
  });
});

describe('up', () => {
  test('refuses a data folder that another instance holds', async () => {
    const hold = await new DataFolder(join(shell.folder, 'held')).hold();
    onTestFinished(() => hold.close());
    for (const more of [[], ['--detach']]) {
      expectOneError(await shell.run('up', '--data', 'held', ...more), {
        code: 3,
        error: /the data folder .*held is held by another instance.*--data/,
      });
    }
  });

  test('refuses a data folder that cannot be created', async () => {
    await shell.write('file', '');
    expectOneError(await shell.run('up', '--data', 'file/data'), { code: 3, error: /data folder .* can't be used/ });
    // Where Node's own recursive mkdir never returns.
    const error = /data folder \/proc\/farshore can't be used: cannot create a folder in \/proc/;
    expectOneError(await shell.run('up', '--data', '/proc/farshore'), { code: 3, error });
  });

  test.each(['--temporal-port', '--ui-port'])('refuses a port that is in use: %s', async (option) => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const error = new RegExp(
      `Port ${port} of 127\\.0\\.0\\.1, requested for the Temporal .*, is in use\\. Stop the program`,
    );
    expectOneError(await shell.run('up', option, `${port}`), { code: 3, error });
    const detached = await shell.run('up', '--detach', option, `${port}`);
    expect(detached).toMatchObject({ code: 3, stdout: '' });
    expect(detached.stderr).toMatch(error);
    expect(await new DataFolder(join(shell.folder, '.farshore')).isHeld()).toBe(false);
  });

  test.each([
    ['the option', ['--metrics', '127.0.0.1'], {}, '--metrics'],
    ['the environment', [], { FARSHORE_METRICS_ADDRESS: '127.0.0.1' }, 'FARSHORE_METRICS_ADDRESS'],
  ])('refuses an address for metrics that is none: %s', async (_, args, env, field) => {
    const outcome = await new Shell(shell.folder, env).run('worker', '--role', 'vmm', '--name', 'vmm-1', ...args);
    const error = new RegExp(
      `${field}: not an address .* \\(value: "127\\.0\\.0\\.1"\\)\\n {2}Remedy: write HOST:PORT`,
    );
    expectOneError(outcome, { code: 3, error });
  });

  test('creates no store if the known one is missing', async () => {
    const data = new DataFolder(join(shell.folder, 'data'));
    await data.make();
    const known = { 'vault-1': { id: '11111111-2222-4333-8444-555555555555', where: join(shell.folder, 'vault') } };
    await writeFile(data.knownStores(), JSON.stringify(known));
    await mkdir(join(shell.folder, 'vault'));
    expectOneError(await shell.runLoaded('up', '--data', 'data'), {
      code: 5,
      error:
        /not the one that this vault has used so far: .*there is no store; .* 11111111-.*\n {2}Remedy: Mount the right store,.* --new-store/,
    });
    expect(await exists('vault/farshore-store.json')).toBe(false);
  });

  test('refuses an address for metrics that is in use', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    // Nobody listens on the discard port: what is refused is refused before anybody is asked.
    const alone = new Shell(shell.folder, { TEMPORAL_ADDRESS: '127.0.0.1:9' });
    const outcome = await alone.run('worker', '--role', 'vmm', '--name', 'vmm-1', '--metrics', `${port}`);
    const error = new RegExp(
      `metrics can't be served at 127\\.0\\.0\\.1:${port}: .*EADDRINUSE[^]*Remedy: choose another`,
    );
    expect(outcome.stderr).toMatch(error);
    expect(outcome).toMatchObject({ code: 3, stdout: '' });
  });

  test('lists every way that was tried if no Temporal is available', async () => {
    const empty = join(shell.folder, 'empty');
    await mkdir(empty);
    // Nobody listens on the discard port: the download fails at once, on a machine with internet too.
    const proxy = 'http://127.0.0.1:9';
    const poor = new Shell(shell.folder, {
      PATH: empty,
      FARSHORE_CACHE: empty,
      HTTPS_PROXY: proxy,
      https_proxy: proxy,
    });
    expectOneError(await poor.run('up'), {
      code: 5,
      error: /No Temporal server is available\. Tried, in this order:\n {2}1\. temporal on PATH[^]*4\. go install/,
    });
  });
});
