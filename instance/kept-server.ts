/**
 * A Temporal server of this machine that is restarted on the same ports and database whenever it dies. Its clients find
 * it at the same address: workers keep polling, and work they finish meanwhile is accepted once it is back.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../temporal/server/ways.js';
import { RestartDelay } from './restart-delay.js';
import { startDevServer, type DevServer, type DevServerOptions } from '../temporal/server/dev-server.js';

export interface KeptServerOptions extends DevServerOptions {
  /** Called with a line about each death and each failed start. */
  readonly onEvent: (line: string) => void;
  /** Called after each restart with the new server process. */
  readonly onRestart: (server: DevServer) => Promise<void>;
}

export class KeptServer {
  readonly #stopping = new AbortController();
  readonly #keeping: Promise<void>;
  #runs = true;

  private constructor(
    private readonly options: KeptServerOptions,
    private server: DevServer,
  ) {
    const { address, uiUrl } = server;
    const place = { port: Number(new URL(`tcp://${address}`).port), uiPort: Number(new URL(uiUrl).port) };
    this.#keeping = this.#keep({ ...options, ...place });
  }

  /** Resolves when the server can be used. @throws as `startDevServer` does; nothing is left running then. */
  static async start(options: KeptServerOptions): Promise<KeptServer> {
    return new KeptServer(options, await startDevServer(options));
  }

  /** The most recently started server. */
  get current(): DevServer {
    return this.server;
  }

  /** Id of its process while it runs. */
  get pid(): number | undefined {
    return this.#runs ? this.server.pid : undefined;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#keeping;
    await this.server.stop();
  }

  async #keep(again: DevServerOptions): Promise<void> {
    const { signal } = this.#stopping;
    const { onEvent, onRestart } = this.options;
    const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    const delay = new RestartDelay();
    let problem = 'ended';
    for (;;) {
      const startedAt = performance.now();
      await Promise.race([this.server.ended, stopped]);
      if (signal.aborted) return;
      this.#runs = false;
      const ms = delay.after(performance.now() - startedAt);
      onEvent(`temporal ${problem}; restarting it in ${ms} ms`);
      await sleep(ms, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      try {
        this.server = await startDevServer(again);
        this.#runs = true;
        problem = 'ended';
      } catch (error) {
        problem = `could not be started: ${messageOf(error)}`;
        continue;
      }
      await onRestart(this.server).catch((error: unknown) =>
        onEvent(`the address of temporal could not be recorded: ${messageOf(error)}`),
      );
    }
  }
}
