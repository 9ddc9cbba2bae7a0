/**
 * A client of QMP, QEMU's control protocol, on its unix socket: one JSON object per line. Commands are answered in
 * order; events that arrive in between are ignored.
 */
import { createConnection, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { z } from 'zod';

const messageSchema = z.union([
  z.object({ return: z.unknown(), id: z.int() }),
  z.object({ error: z.object({ class: z.string(), desc: z.string() }), id: z.int().optional() }),
  z.object({ event: z.string() }),
  z.object({ QMP: z.object({}) }),
]);

/** QEMU refused a command, did not answer it in time, or is gone. */
export class QmpError extends Error {
  override readonly name = 'QmpError';
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: QmpError): void;
}

export class Qmp {
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #closed: QmpError | undefined;

  private constructor(private readonly socket: Socket) {
    const lines = createInterface(socket);
    lines.on('line', (line) => this.#take(line));
    // The line reader repeats the socket's errors, which are handled below.
    lines.on('error', () => undefined);
    socket.on('error', (error) => this.#end(error.message));
    socket.on('close', () => this.#end('QEMU has ended'));
  }

  /** @param deadlineMs how long QEMU may take until it accepts commands. @throws QmpError */
  static async connect(socketPath: string, deadlineMs: number): Promise<Qmp> {
    const socket = createConnection(socketPath);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', (error) => reject(new QmpError(error.message, { cause: error })));
    });
    const qmp = new Qmp(socket);
    try {
      await qmp.execute('qmp_capabilities', {}, deadlineMs);
    } catch (error) {
      qmp.close();
      throw error;
    }
    return qmp;
  }

  /** @throws QmpError if QEMU refuses the command, is gone, or does not answer within the deadline, ms. */
  async execute(command: string, args: object, deadlineMs: number): Promise<unknown> {
    if (this.#closed) throw this.#closed;
    const id = (this.#lastId += 1);
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<unknown>((resolve, reject) => {
        this.#waiting.set(id, { resolve, reject });
        timer = setTimeout(() => reject(new QmpError(`no answer to ${command} within ${deadlineMs} ms`)), deadlineMs);
        this.socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
      });
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
    }
  }

  close(): void {
    this.socket.destroy();
  }

  #take(line: string): void {
    const { data: message } = messageSchema.safeParse(parsed(line));
    if (!message) return this.#end('QEMU sent something that is not QMP');
    if ('error' in message) this.#waiting.get(message.id ?? 0)?.reject(new QmpError(message.error.desc));
    else if ('return' in message) this.#waiting.get(message.id)?.resolve(message.return);
  }

  #end(reason: string): void {
    this.#closed ??= new QmpError(reason);
    this.socket.destroy();
    for (const { reject } of this.#waiting.values()) reject(this.#closed);
    this.#waiting.clear();
  }
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
