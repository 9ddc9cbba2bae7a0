/** A guest agent as QEMU's answers on its host end: the commands for freezing and running programs, and `guest-sync`. */
import { createServer, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

export interface AgentOfGuest {
  /** Resolves once everything is on the disks and nothing more is written. */
  freeze(): Promise<void>;
  thaw(): Promise<void>;
}

/** What an agent may do that is not so helpful. */
export interface Unhelpful {
  /** Answers to freezing later, ms; frozen it is before. */
  answerAfterMs?: number;
  /** Says afterwards that it is thawed. */
  thawsItself?: boolean;
  /** Closes the connection instead of thawing, so many times. */
  refuseThaws?: number;
  /** Has nothing to freeze. */
  fileSystems?: number;
  error?: string;
  /** A program that it is asked to run ends so, once it was asked for its state so many times; undefined: never. */
  ran?: { readonly exitCode: number; readonly output: string; readonly afterPolls?: number } | undefined;
}

export class GuestAgentServer {
  frozen = false;
  /** Commands that were carried out, without `guest-sync`. */
  readonly commands: string[] = [];
  /** Programs that it was asked to run, with their arguments. */
  readonly programs: string[][] = [];
  #polls = 0;
  readonly #sockets = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    private readonly guest: AgentOfGuest,
    readonly unhelpful: Unhelpful,
  ) {}

  static async listen(socketPath: string, guest: AgentOfGuest, unhelpful: Unhelpful = {}): Promise<GuestAgentServer> {
    const server = createServer();
    const agent = new GuestAgentServer(server, guest, unhelpful);
    server.on('connection', (socket) => void agent.#serve(socket));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(socketPath, resolve);
    });
    return agent;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }

  async #serve(socket: Socket): Promise<void> {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    // What somebody was told who is gone by now.
    socket.write('{"return": 42}\n{"return": "fro');
    socket.write('zen"}\n');
    for await (const line of createInterface(socket)) {
      const answer = await this.#answer(line).catch((error: Error) => ({
        error: { class: 'GenericError', desc: error.message },
      }));
      if (answer === undefined) socket.destroy();
      else if (!socket.destroyed) socket.write(`${JSON.stringify(answer)}\n`);
    }
  }

  async #answer(line: string): Promise<object | undefined> {
    const { execute, arguments: args } = JSON.parse(line) as {
      execute: string;
      arguments?: { id?: number; path?: string; arg?: string[] };
    };
    if (execute === 'guest-sync') return { return: args?.id };
    this.commands.push(execute);
    const { answerAfterMs = 0, thawsItself, refuseThaws = 0, fileSystems = 1, error } = this.unhelpful;
    switch (execute) {
      case 'guest-exec':
        this.programs.push([args!.path!, ...(args!.arg ?? [])]);
        this.#polls = 0;
        return { return: { pid: 4711 } };
      case 'guest-exec-status': {
        const { ran } = this.unhelpful;
        this.#polls += 1;
        if (!ran || this.#polls <= (ran.afterPolls ?? 0)) return { return: { exited: false } };
        const data = Buffer.from(ran.output).toString('base64');
        return { return: { exited: true, exitcode: ran.exitCode, 'out-data': data } };
      }
      case 'guest-fsfreeze-status':
        return { return: this.frozen && !thawsItself ? 'frozen' : 'thawed' };
      case 'guest-fsfreeze-freeze':
        if (error !== undefined) throw new Error(error);
        await this.guest.freeze();
        this.frozen = true;
        await new Promise((resolve) => setTimeout(resolve, answerAfterMs));
        return { return: fileSystems };
      case 'guest-fsfreeze-thaw':
        if (refuseThaws > 0) {
          this.unhelpful.refuseThaws = refuseThaws - 1;
          return undefined;
        }
        await this.guest.thaw();
        this.frozen = false;
        return { return: fileSystems };
    }
    throw new Error(`The command ${execute} has not been found`);
  }
}
