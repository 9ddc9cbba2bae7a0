/** A process that has the `farshore` command loaded, and runs one after the other. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { Outcome } from './command.js';

const server = path.resolve(import.meta.dirname, 'command-server.mjs');

export class LoadedCommand {
  #busy = false;

  private constructor(private readonly child: ChildProcess) {}

  static async start(programPath: string): Promise<LoadedCommand> {
    const child = fork(server, [programPath], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], execArgv: [] });
    // What it is asked keeps whoever asked; it alone keeps nobody.
    child.unref();
    await once(child, 'message');
    child.channel?.unref();
    return new LoadedCommand(child);
  }

  get isFree(): boolean {
    return !this.#busy && this.child.connected;
  }

  /** @throws Error when the process ends meanwhile. */
  async run(args: readonly string[], folder: string, env: NodeJS.ProcessEnv): Promise<Outcome> {
    this.#busy = true;
    this.child.channel?.ref();
    try {
      return await new Promise<Outcome>((resolve, reject) => {
        const ended = (code: number | null, signal: string | null) =>
          reject(new Error(`farshore ${args.join(' ')}: its process ended with ${code ?? signal}`));
        this.child.once('exit', ended);
        this.child.once('message', (outcome) => {
          this.child.removeListener('exit', ended);
          resolve(outcome as Outcome);
        });
        this.child.send({ args, folder, env });
      });
    } finally {
      this.child.channel?.unref();
      this.#busy = false;
    }
  }
}
