/**
 * The guest of a VM, booted in QEMU from the exports of the VM's disks if this hypervisor runs guests. A guest that
 * can't be booted does not keep the VM from running: the disks are served anyway, and the VM says why its guest is not
 * booted.
 */
import { open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Hardware } from '../../domain/hardware.js';
import type { DirectBoot } from '../../domain/site.js';
import type { GuestState } from '../../domain/guest.js';
import { uefiFirmware } from '../qemu/firmware.js';
import { guestNetwork } from '../qemu/guest-network.js';
import { QemuGuest } from '../qemu/qemu-guest.js';
import { GuestAgent } from './guest-agent.js';

/** How guests are run on this machine. */
export interface GuestRunner {
  /** Name or path of the program, such as `qemu-system-x86_64`. */
  readonly qemu: string;
  readonly socketFolder: string;
  /** How long a guest may take to shut down after it was asked to, ms. */
  readonly shutDownLimitMs: number;
  /** Guests of the same scope reach each other on networks of the same name. */
  readonly networkScope: string;
}

export interface GuestSettings {
  readonly hardware: Hardware;
  readonly directBoot?: DirectBoot | undefined;
  /** By name of the adapter, the network that it is connected to. */
  readonly networks?: Readonly<Record<string, string>> | undefined;
  /** Folder of this guest only, for the console log and the firmware variables. */
  readonly folder: string;
}

export class VmGuest {
  #guest: QemuGuest | undefined;
  /** The guest that was asked to shut down, or turned off. */
  #leaving: QemuGuest | undefined;
  #problem: string | undefined;

  /** @param onEnded called when the guest has shut itself down or its QEMU has ended. */
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

  /** Has no effect if the guest is booted. @param disks the NBD URI of each disk, keyed by name. */
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

  /** The end of its console, at most so many bytes; empty if it has none yet. */
  async console(maxBytes: number): Promise<Buffer> {
    return tailOf(join(this.settings.folder, 'console.log'), maxBytes);
  }

  /** Its screen as a PNG; undefined if it is not booted. */
  async screen(): Promise<Buffer | undefined> {
    if (!this.#guest?.isRunning) return undefined;
    const file = join(this.settings.folder, 'screen.png');
    try {
      await this.#guest.screen(file);
      return await readFile(file);
    } finally {
      await rm(file, { force: true });
    }
  }

  /** Runs a program in the guest. @throws GuestAgentError */
  async run(command: readonly string[], limitMs: number): Promise<{ exitCode: number; output: string }> {
    const deadline = performance.now() + limitMs;
    const agent = await GuestAgent.connect(join(this.runner.socketFolder, `${this.vm}.agent`), deadline);
    try {
      return await agent.run(command, deadline);
    } finally {
      agent.close();
    }
  }

  /** Asks the guest to shut down, and turns it off after the limit, ms. */
  async shutDown(limitMs = this.runner.shutDownLimitMs): Promise<void> {
    const guest = this.#take();
    if (!guest || (await guest.shutDown(limitMs))) return;
    const seconds = Math.round(limitMs / 1000);
    this.warn(`${this.vm} did not shut down within ${seconds} s and is turned off`, undefined);
    await guest.turnOff();
  }

  /** Also ends a guest that is still shutting down. */
  async turnOff(): Promise<void> {
    await (this.#take() ?? this.#leaving)?.turnOff();
  }

  /** Stops following the guest, so that its end is not reported. */
  #take(): QemuGuest | undefined {
    const guest = this.#guest;
    this.#guest = undefined;
    this.#problem = undefined;
    if (guest) this.#leaving = guest;
    return guest;
  }

  async #start(disks: ReadonlyMap<string, string>): Promise<QemuGuest> {
    const { hardware, directBoot, networks = {}, folder } = this.settings;
    const { qemu, socketFolder, networkScope } = this.runner;
    const isUefi = hardware.firmware === 'UEFI' && !directBoot;
    const firmware = isUefi ? await uefiFirmware(hardware.secureBoot) : undefined;
    if (isUefi && !firmware) {
      throw new Error(
        `no UEFI firmware ${hardware.secureBoot ? 'with' : 'without'} secure boot is installed; install the package ovmf`,
      );
    }
    const connected = Object.entries(networks).map(
      ([adapter, name]) => [adapter, guestNetwork(networkScope, name)] as const,
    );
    const machine = { name: this.vm, hardware, disks, directBoot, firmware, networks: new Map(connected) };
    return await QemuGuest.start(machine, { qemu, folder, socketFolder });
  }
}

async function tailOf(path: string, maxBytes: number): Promise<Buffer> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (!file) return Buffer.alloc(0);
  try {
    const { size } = await file.stat();
    const length = Math.min(size, maxBytes);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
