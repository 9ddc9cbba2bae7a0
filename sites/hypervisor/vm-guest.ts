/**
 * The guest of a VM: booted in QEMU from the exports of its disks, where this hypervisor runs guests. A guest that can't be
 * booted keeps no VM from running: its disks are served all the same, and the VM says why it is not booted.
 */
import type { Hardware } from '../../domain/hardware.js';
import type { DirectBoot } from '../../domain/site.js';
import type { GuestState } from '../../domain/guest.js';
import { uefiFirmware } from '../qemu/firmware.js';
import { QemuGuest } from '../qemu/qemu-guest.js';

/** What runs guests here. */
export interface GuestRunner {
  /** The program, such as `qemu-system-x86_64`. */
  readonly qemu: string;
  readonly socketFolder: string;
  /** How long a guest that is asked to shut down may take, ms. */
  readonly shutDownLimitMs: number;
}

export interface GuestSettings {
  readonly hardware: Hardware;
  readonly directBoot?: DirectBoot | undefined;
  /** Its own: console log and firmware variables are kept there. */
  readonly folder: string;
}

export class VmGuest {
  #guest: QemuGuest | undefined;
  /** What is asked to shut down. */
  #leaving: QemuGuest | undefined;
  #problem: string | undefined;

  /** @param onEnded the guest has shut itself down, or its QEMU is gone. */
  constructor(
    private readonly vm: string,
    private readonly runner: GuestRunner,
    private readonly settings: GuestSettings,
    private readonly onEnded: () => void,
    private readonly warn: (message: string, error: unknown) => void,
  ) {}

  get state(): GuestState {
    const booted = this.#guest?.isRunning === true;
    return { booted, ...(!booted && this.#problem !== undefined && { problem: this.#problem }) };
  }

  /** @param disks by name, where each is served. Booted already: nothing. */
  async boot(disks: ReadonlyMap<string, string>): Promise<void> {
    if (this.#guest?.isRunning) return;
    try {
      const guest = await this.#start(disks);
      this.#guest = guest;
      this.#problem = undefined;
      void guest.ended().then(() => this.#guest === guest && this.onEnded());
    } catch (error) {
      this.#problem = (error as Error).message;
      this.warn(`${this.vm} is not booted; its disks are served`, error);
    }
  }

  /** Asks the guest to shut down; turned off after the limit, ms. */
  async shutDown(limitMs = this.runner.shutDownLimitMs): Promise<void> {
    const guest = this.#take();
    if (!guest || (await guest.shutDown(limitMs))) return;
    const seconds = Math.round(limitMs / 1000);
    this.warn(`${this.vm} did not shut down within ${seconds} s and is turned off`, undefined);
    await guest.turnOff();
  }

  /** Also one that is asked to shut down just now. */
  async turnOff(): Promise<void> {
    await (this.#take() ?? this.#leaving)?.turnOff();
  }

  /** That it ends from now on is not news. */
  #take(): QemuGuest | undefined {
    const guest = this.#guest;
    this.#guest = undefined;
    this.#problem = undefined;
    if (guest) this.#leaving = guest;
    return guest;
  }

  async #start(disks: ReadonlyMap<string, string>): Promise<QemuGuest> {
    const { hardware, directBoot, folder } = this.settings;
    const { qemu, socketFolder } = this.runner;
    const isUefi = hardware.firmware === 'UEFI' && !directBoot;
    const firmware = isUefi ? await uefiFirmware(hardware.secureBoot) : undefined;
    if (isUefi && !firmware) {
      throw new Error(
        `no UEFI firmware ${hardware.secureBoot ? 'with' : 'without'} secure boot is installed; install the package ovmf`,
      );
    }
    const machine = { name: this.vm, hardware, disks, directBoot, firmware };
    return await QemuGuest.start(machine, { qemu, folder, socketFolder });
  }
}
