/** Runs the built `farshore` command as a person or a script does. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { checkAnswer } from './answer-check.js';
import { LoadedCommand } from './loaded-command.js';

const client = path.resolve(process.env['FARSHORE_TEST_DIST'] ?? 'dist', 'client');
export const cliPath = path.join(client, 'cli.js');
/** Of everything that this process tests. */
let loaded: Promise<LoadedCommand> | undefined;
/** Commands that start processes, or last as long as what they run. */
const lasting: readonly (string | undefined)[] = ['up', 'worker', 'hypervisor', 'recovery-compute', 'demo'];

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** One folder, in which every command is run; of the environment nothing of Temporal's or Farshore's is passed on. */
export class Shell {
  readonly env: NodeJS.ProcessEnv;

  constructor(
    readonly folder: string,
    env: NodeJS.ProcessEnv = {},
  ) {
    const inherited = Object.entries(process.env).filter(([name]) => !/^(TEMPORAL|FARSHORE)_(?!CACHE)/.test(name));
    this.env = { ...Object.fromEntries(inherited), ...env };
  }

  /** Resolves with whatever came of it; standard input is no terminal. */
  run(...args: string[]): Promise<Outcome> {
    return lasting.includes(args[0]) ? this.runAlone(...args) : this.runLoaded(...args);
  }

  /** As `run`, in a process that has the command loaded, unless that is busy. For what starts nothing that lasts. */
  async runLoaded(...args: string[]): Promise<Outcome> {
    const command = await (loaded ??= LoadedCommand.start(path.join(client, 'program.js')));
    return command.isFree ? command.run(args, this.folder, this.env) : this.runAlone(...args);
  }

  /** As `run`, in a process of its own, as everybody else runs it. */
  runAlone(...args: string[]): Promise<Outcome> {
    return new Promise((resolve) => {
      const child = execFile(
        process.execPath,
        [cliPath, ...args],
        { cwd: this.folder, env: this.env },
        (error, stdout, stderr) => {
          resolve({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, stdout, stderr });
        },
      );
      child.stdin?.end();
    });
  }

  /** Whose answers were given, each as its schema says. */
  readonly answers = new Set<string>();

  /** What `--json` prints, as its schema says: nothing else may be on standard output. */
  async json(...args: string[]): Promise<{ code: number; value: unknown; stderr: string }> {
    const { code, stdout, stderr } = await this.run(...args, '--json');
    const value: unknown = stdout === '' ? undefined : JSON.parse(stdout);
    if (value !== undefined) this.answers.add(checkAnswer(value));
    return { code, value, stderr };
  }

  async write(name: string, content: string): Promise<void> {
    await writeFile(path.join(this.folder, name), content);
  }

  read(name: string): Promise<string> {
    return readFile(path.join(this.folder, name), 'utf8');
  }

  /** A sparse disk with some data in it. @param dataBytes that it begins with. @default few */
  async writeDisk(name: string, bytes: number, dataBytes = 0): Promise<void> {
    await mkdir(path.dirname(path.join(this.folder, name)), { recursive: true });
    const file = await open(path.join(this.folder, name), 'w');
    await file.truncate(bytes);
    if (bytes >= 2 ** 20) await file.write(randomBytes(65_536), 0, 65_536, 2 ** 19);
    for (let at = 0; at < dataBytes; at += MiB) await file.write(randomBytes(MiB), 0, MiB, at);
    await file.close();
  }
}

export const MiB = 2 ** 20;

/** Two VMs with three disks on one host. */
export const siteYaml = `vault:
  name: vault-1
  store:
    kind: embedded
    path: vault
vmmServers:
  - name: vmm-1
    vmNetworks:
      - name: lan
        logicalNetwork: corporate
    logicalNetworks:
      - name: corporate
    clouds:
      - name: cloud-1
        hosts:
          - name: h1
azureNetworks:
  - name: vnet-1
    subnets: [default]
networkMappings:
  - vmNetwork: lan
    azureNetwork: vnet-1
policies:
  - name: fast
    copyFrequency: 30s
vms:
  - name: web-01
    host: h1
    policy: fast
    disks:
      - name: os
        path: disks/web-os.raw
        size: ${16 * MiB}
    networkAdapters:
      - name: eth0
        vmNetwork: lan
  - name: db-01
    host: h1
    disks:
      - name: os
        path: disks/db-os.raw
      - name: data
        path: disks/db-data.raw
`;

/** The site of {@link siteYaml} with its disks. */
export async function makeSite(shell: Shell): Promise<void> {
  await shell.write('site.yaml', siteYaml);
  await shell.writeDisk('disks/web-os.raw', 16 * MiB);
  await shell.writeDisk('disks/db-os.raw', 16 * MiB);
  await shell.writeDisk('disks/db-data.raw', 8 * MiB);
}

export const planYaml = `name: shop
groups:
  - name: databases
    vms: [db-01]
  - name: fronts
    vms: [web-01]
`;
