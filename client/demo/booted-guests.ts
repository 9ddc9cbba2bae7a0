/** Guests that QEMU boots. They write numbered transactions to their file systems, and tell on their consoles. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DataFolder } from '../../config/data-folder.js';
import { bootedTransactions, leftTransactions, timesEnded, timesReady } from './guest/console.js';
import type { DemoGuests, Side, Written } from './guests.js';

/** A boot takes less than a tenth of this, even in software emulation, ms. */
const READY_WITHIN_MS = 180_000;
const POLL_MS = 200;
/** How much of a console is shown, characters. */
const MAX_SHOWN = 500;

export class BootedGuests implements DemoGuests {
  readonly areBooted = true;
  /** Where the guest of each VM runs, and how often it has booted there. */
  readonly #places = new Map<string, { readonly side: Side; readonly boots: number }>();

  constructor(
    private readonly data: DataFolder,
    private readonly host: string,
  ) {}

  async begin(vm: string, side: Side): Promise<void> {
    const boots = timesEnded(await this.#console(vm, side)) + 1;
    await this.#until(vm, side, 'has not booted', (console) => timesReady(console) >= boots);
    this.#places.set(vm, { side, boots });
  }

  async isBooted(vm: string, side: Side): Promise<boolean> {
    const console = await this.#console(vm, side);
    return timesReady(console) > timesEnded(console);
  }

  async ended(vm: string): Promise<Written[]> {
    const { side, boots } = this.#places.get(vm)!;
    await this.#until(vm, side, 'has not shut down', (console) => timesEnded(console) >= boots);
    const left = leftTransactions<string>(await this.#console(vm, side)).at(-1) ?? {};
    return Object.entries(left).map(([disk, newest]) => ({ vm, disk, kind: 'transactions', newest }));
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  /** The newest transaction that the guest found on each of its disks when it booted. */
  async found(vm: string, side: Side): Promise<Readonly<Record<string, number>>> {
    return bootedTransactions<string>(await this.#console(vm, side)).at(-1) ?? {};
  }

  async #until(vm: string, side: Side, problem: string, isSo: (console: string) => boolean): Promise<void> {
    const deadline = performance.now() + READY_WITHIN_MS;
    for (;;) {
      const console = await this.#console(vm, side);
      if (isSo(console)) return;
      if (performance.now() > deadline) {
        throw new Error(
          `the guest of ${vm} ${problem} within ${READY_WITHIN_MS / 1000} s; its console ends with: ${console.slice(-MAX_SHOWN)}`,
        );
      }
      await sleep(POLL_MS);
    }
  }

  /** Empty before its first boot. The console of a replica VM goes with that VM. */
  async #console(vm: string, side: Side): Promise<string> {
    const folder =
      side === 'primary'
        ? path.join(this.data.hypervisorState(this.host), 'guests', vm)
        : path.join(this.data.recoveryState(), 'vms', vm, '.guest');
    return await readFile(path.join(folder, 'console.log'), 'utf8').catch(() => '');
  }
}

/** Each transaction is on all disks, or as the newest one only on the first. */
export const newestOf = (transactions: Readonly<Record<string, number>> | undefined): number =>
  Math.max(0, ...Object.values(transactions ?? {}));
