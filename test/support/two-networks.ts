/**
 * Two hosts of their own networks on this machine, with one link between them that can be cut: network namespaces and a
 * pair of virtual interfaces. Sockets in the file system are seen by all, addresses by their own host alone.
 */
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { TestContext } from 'vitest';

export type Side = 'primary' | 'recovery';

/** Of the link; nobody else has them, as each pair of namespaces is a world of its own. */
export const ADDRESSES: Readonly<Record<Side, string>> = { primary: '10.231.7.1', recovery: '10.231.7.2' };

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class TwoNetworks {
  readonly #children: ChildProcess[] = [];

  private constructor(private readonly names: Readonly<Record<Side, string>>) {}

  /** Skips the running test where namespaces can't be made; where readers are required, that is a failure. */
  static make(context: Pick<TestContext, 'skip'>): TwoNetworks {
    const id = randomBytes(3).toString('hex');
    const networks = new TwoNetworks({ primary: `fsp${id}`, recovery: `fsr${id}` });
    const made = spawnSync('ip', ['netns', 'add', networks.names.primary], { encoding: 'utf8' });
    if (made.status !== 0) {
      const problem = `network namespaces can't be made: ${made.error?.message ?? made.stderr}`;
      if (process.env['FARSHORE_REQUIRE_READERS']) throw new Error(problem);
      context.skip(problem);
    }
    ip('netns', 'add', networks.names.recovery);
    const { primary, recovery } = networks.names;
    ip('-n', primary, 'link', 'add', 'wan', 'type', 'veth', 'peer', 'name', 'wan', 'netns', recovery);
    for (const side of ['primary', 'recovery'] as const) {
      const name = networks.names[side];
      ip('-n', name, 'addr', 'add', `${ADDRESSES[side]}/30`, 'dev', 'wan');
      ip('-n', name, 'link', 'set', 'lo', 'up');
      ip('-n', name, 'link', 'set', 'wan', 'up');
    }
    return networks;
  }

  /** What to put before a command, so that it runs on this side. */
  prefix = (side: Side): string[] => ['ip', 'netns', 'exec', this.names[side]];

  /** Nothing passes any more, and nobody is told. */
  cut(): void {
    ip('-n', this.names.primary, 'link', 'set', 'wan', 'down');
  }

  heal(): void {
    ip('-n', this.names.primary, 'link', 'set', 'wan', 'up');
  }

  /** A process that goes on; ended with the networks. @param log told what it says. */
  start(side: Side, command: readonly string[], env: NodeJS.ProcessEnv, log: (text: string) => void): ChildProcess {
    const [program, ...args] = [...this.prefix(side), ...command] as [string, ...string[]];
    const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => log(data.toString()));
    this.#children.push(child);
    return child;
  }

  /** Runs it to its end. */
  async run(side: Side, command: readonly string[], env: NodeJS.ProcessEnv): Promise<Ended> {
    const [program, ...args] = [...this.prefix(side), ...command] as [string, ...string[]];
    const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
    child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, stdout, stderr };
  }

  async remove(): Promise<void> {
    for (const child of this.#children.toReversed()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    }
    for (const name of Object.values(this.names)) ip('netns', 'del', name);
  }
}

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
