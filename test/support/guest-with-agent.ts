/**
 * A guest in a process of its own: an application that takes numbers into its memory and writes them to the disks
 * later, and an agent that makes it write everything and stop. Arguments: the agent's socket, options of the agent as
 * JSON, disks as `NAME=NBD-URI`. Tells one JSON object a line on standard output.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { NbdGuest } from '../../sites/nbd/guest.js';
import { NumberedWriter } from '../../sites/nbd/numbered-writer.js';
import { GuestAgentServer, type Unhelpful } from './guest-agent.js';

const REGION = { offset: 0, length: 4 * 2 ** 20 };
/** Numbers that are in memory only. */
const CACHED = 20;

class Application {
  /** The newest number it has taken; what is on the disk is older. */
  taken = 0;
  #frozen = false;
  #writing: Promise<void> = Promise.resolve();

  constructor(
    private readonly name: string,
    private readonly uri: string,
  ) {}

  /** Through restarts of the hypervisor. */
  async run(): Promise<never> {
    for (;;) {
      try {
        const disk = await NbdGuest.connect(this.uri);
        const writer = await NumberedWriter.resume(disk, this.name, REGION);
        this.taken = Math.max(this.taken, writer.acknowledged);
        for (;;) {
          if (!this.#frozen) {
            this.taken += 1;
            this.#writing = this.#write(writer, this.taken - CACHED);
            this.flush = async () => {
              await this.#writing;
              await this.#write(writer, this.taken);
              await writer.flush();
            };
            await this.#writing;
          }
          await sleep(1);
        }
      } catch {
        await sleep(50);
      }
    }
  }

  flush: () => Promise<void> = () => Promise.reject(new Error('the disk is not there'));

  async freeze(): Promise<void> {
    this.#frozen = true;
    await this.flush();
  }

  thaw(): void {
    this.#frozen = false;
  }

  async #write(writer: NumberedWriter, till: number): Promise<void> {
    while (writer.acknowledged < till) await writer.writeNext();
  }
}

const tell = (event: object): void => void process.stdout.write(`${JSON.stringify(event)}\n`);

const [socketPath, unhelpful, ...disks] = process.argv.slice(2);
const applications = disks.map((disk) => {
  const at = disk.indexOf('=');
  return new Application(disk.slice(0, at), disk.slice(at + 1));
});
const guest = {
  async freeze() {
    await Promise.all(applications.map((application) => application.freeze()));
    tell({ event: 'frozen', taken: applications.map(({ taken }) => taken) });
  },
  thaw() {
    for (const application of applications) application.thaw();
    tell({ event: 'thawed', taken: applications.map(({ taken }) => taken) });
    return Promise.resolve();
  },
};
await GuestAgentServer.listen(socketPath!, guest, JSON.parse(unhelpful!) as Unhelpful);
tell({ event: 'ready' });
await Promise.all(applications.map((application) => application.run()));
