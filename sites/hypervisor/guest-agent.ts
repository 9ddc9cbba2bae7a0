/**
 * A client of a VM's QEMU guest agent, on the unix socket at the host end of its channel. The protocol is one JSON
 * object per line, and each command is answered before the next one is sent. Uses the freeze commands, those that run a
 * program, and `guest-sync`, which skips answers to an earlier client that may still be in the channel.
 */
import { randomInt } from 'node:crypto';
import { createConnection, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';

const answerSchema = z.union([
  z.object({ return: z.unknown() }),
  z.object({ error: z.object({ desc: z.string().default('no reason given') }) }),
]);

/**
 * Limits, because the guest is not trusted: bytes that its answers may take in this process's memory, and characters
 * shown to the operator.
 */
const MAX_RECEIVED_BYTES = 256 * 1024;
const MAX_SHOWN = 200;

const RAN_POLL_MS = 200;
const startedSchema = z.object({ pid: z.int() });
const ranSchema = z.object({
  exited: z.boolean(),
  exitcode: z.int().optional(),
  'out-data': z.string().default(''),
  'err-data': z.string().default(''),
});

/** The agent refused a command or does not answer. The message is meant for operators. */
export class GuestAgentError extends Error {
  override readonly name = 'GuestAgentError';
}

/** Deadlines are times of `performance.now()`, ms. A missed deadline closes the connection. */
export class GuestAgent {
  readonly #lines: AsyncIterator<string>;

  private constructor(
    private readonly socketPath: string,
    private readonly socket: Socket,
  ) {
    let received = 0;
    socket.on('data', (chunk: Buffer) => {
      received += chunk.length;
      if (received > MAX_RECEIVED_BYTES) socket.destroy(new GuestAgentError(`${socketPath}: its answer is too long`));
    });
    this.#lines = createInterface(socket)[Symbol.asyncIterator]();
  }

  /**
   * Resolves when the agent in the guest answers: the connection alone is no proof, as another client may have the host
   * end open.
   * @throws GuestAgentError
   */
  static async connect(socketPath: string, deadline: number): Promise<GuestAgent> {
    const socket = createConnection(socketPath);
    const agent = new GuestAgent(socketPath, socket);
    await agent.#by(deadline, 'connecting', async () => {
      await new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve);
        socket.on('error', (error) => reject(new GuestAgentError(`${socketPath}: ${error.message}`)));
      });
      const id = randomInt(2 ** 31);
      // The line end first terminates a command that an earlier client may have left unfinished.
      socket.write('\n');
      agent.#send('guest-sync', { id });
      while ((await agent.#answer().catch(() => undefined)) !== id) if (socket.destroyed) throw agent.#gone();
    });
    return agent;
  }

  /**
   * Makes the file systems flush and hold back further writes.
   * @returns how many file systems are frozen.
   * @throws GuestAgentError
   */
  async freeze(deadline: number): Promise<number> {
    return z.number().parse(await this.#call('guest-fsfreeze-freeze', deadline));
  }

  /** @throws GuestAgentError */
  async isFrozen(deadline: number): Promise<boolean> {
    return (await this.#call('guest-fsfreeze-status', deadline)) === 'frozen';
  }

  /** Has no effect if the guest is not frozen. @throws GuestAgentError */
  async thaw(deadline: number): Promise<void> {
    await this.#call('guest-fsfreeze-thaw', deadline);
  }

  /**
   * Runs a program in the guest and waits for its end.
   * @returns its exit code, and the end of what it has printed. @throws GuestAgentError
   */
  async run([path, ...args]: readonly string[], deadline: number): Promise<{ exitCode: number; output: string }> {
    const started = await this.#call('guest-exec', deadline, { path, arg: args, 'capture-output': true });
    const { pid } = startedSchema.parse(started);
    for (;;) {
      const state = ranSchema.parse(await this.#call('guest-exec-status', deadline, { pid }));
      if (state.exited) {
        const output = [state['out-data'], state['err-data']].map((data) => Buffer.from(data, 'base64').toString());
        // A program that a signal has ended has no exit code.
        return { exitCode: state.exitcode ?? -1, output: output.join('').slice(-MAX_SHOWN).trim() };
      }
      await sleep(RAN_POLL_MS);
    }
  }

  get isClosed(): boolean {
    return this.socket.destroyed;
  }

  close(): void {
    this.socket.destroy();
  }

  #call(command: string, deadline: number, args?: object): Promise<unknown> {
    return this.#by(deadline, command, () => {
      this.#send(command, args);
      return this.#answer();
    });
  }

  #send(execute: string, args?: object): void {
    this.socket.write(`${JSON.stringify({ execute, ...(args && { arguments: args }) })}\n`);
  }

  async #answer(): Promise<unknown> {
    const line = await this.#lines.next();
    if (line.done) throw this.#gone();
    const answer = answerSchema.parse(JSON.parse(line.value));
    if ('error' in answer) throw new GuestAgentError(`${this.socketPath}: ${answer.error.desc.slice(0, MAX_SHOWN)}`);
    return answer.return;
  }

  #gone(): GuestAgentError {
    this.socket.destroy();
    return new GuestAgentError(`${this.socketPath}: the connection was closed`);
  }

  async #by<T>(deadline: number, what: string, action: () => Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const fail = () => reject(new GuestAgentError(`${this.socketPath}: no answer to ${what} in time`));
      timer = setTimeout(fail, Math.max(0, deadline - performance.now()));
    });
    try {
      return await Promise.race([action(), late]);
    } catch (error) {
      this.close();
      throw error instanceof GuestAgentError
        ? error
        : new GuestAgentError(`${this.socketPath}, ${what}: ${(error as Error).message}`, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }
}
