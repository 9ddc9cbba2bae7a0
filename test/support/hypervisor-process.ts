import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { z } from 'zod';
import type { hypervisorConfigSchema } from '../../sites/hypervisor/hypervisor-config.js';

const main = resolve(process.env['FARSHORE_TEST_DIST'] ?? 'dist', 'instance/hypervisor-main.js');

/** A hypervisor process as it is in production; several lives, one after the other, from one configuration. */
export class HypervisorProcess {
  /** Ends the life it is in. @returns the exit code. */
  #end: ((signal: NodeJS.Signals) => Promise<unknown>) | undefined;
  stderr = '';

  private constructor(
    private readonly configFile: string,
    readonly controlSocket: string,
  ) {}

  /** @param folder of the state, the sockets, and the configuration. */
  static async configure(
    folder: string,
    name: string,
    config: Partial<z.input<typeof hypervisorConfigSchema>>,
  ): Promise<HypervisorProcess> {
    const controlSocket = join(folder, `${name}.sock`);
    const configFile = join(folder, `${name}.config.json`);
    const folders = { stateFolder: join(folder, `${name}.state`), nbdSocketFolder: join(folder, `${name}.nbd`) };
    await writeFile(configFile, JSON.stringify({ ...folders, controlSocket, freeSpaceFloorBytes: 0, ...config }));
    return new HypervisorProcess(configFile, controlSocket);
  }

  /** Resolves when it says that it is ready. @throws with what it said when it ends instead. */
  async start(): Promise<void> {
    const child = spawn(process.execPath, [main, this.configFile], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#end = async (signal) => {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
      const exited = once(child, 'exit');
      child.kill(signal);
      return (await exited)[0];
    };
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    const ready = once(createInterface(child.stdout), 'line');
    const ended = once(child, 'exit').then(([code]) => {
      throw new Error(`the hypervisor ended with ${String(code)}: ${this.stderr}`);
    });
    await Promise.race([ready, ended]);
    ended.catch(() => undefined);
  }

  async kill(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    const end = this.#end;
    this.#end = undefined;
    const code = await end?.(signal);
    if (end && signal === 'SIGTERM' && code !== 0) throw new Error(`ended with ${String(code)}: ${this.stderr}`);
  }
}
