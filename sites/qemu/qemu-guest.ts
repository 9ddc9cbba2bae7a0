/**
 * A VM's guest, booted in its own QEMU process. QEMU ends when its guest shuts down. If the hypervisor died, the QEMU
 * that it left is found by its control socket and ended, because its disks went with the hypervisor.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { copyFile, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isThere } from '../../disks/make-folder.js';
import { syncFolder } from '../../disks/sync-folder.js';
import { accelerator } from './accelerator.js';
import type { UefiFirmware } from './firmware.js';
import { escaped, machineArguments, type Machine, type MachineFiles } from './machine.js';
import { Qmp, QmpError } from './qmp.js';

/** QEMU usually takes a tenth of this until it accepts commands, ms. */
const STARTED_WITHIN_MS = 30_000;
const ANSWERED_WITHIN_MS = 10_000;
const ENDED_WITHIN_MS = 5_000;
const POLL_MS = 20;
/** How much of QEMU's error output is shown if it does not start, characters. */
const MAX_SHOWN = 500;

export interface GuestOptions {
  readonly qemu: string;
  /** Folder of this guest only; the console log and the firmware variables are kept in it. */
  readonly folder: string;
  /** Folder of its sockets, whose paths are limited to about a hundred characters. */
  readonly socketFolder: string;
}

type Described = Omit<Machine, 'uefi'> & { readonly firmware?: UefiFirmware | undefined };

export class QemuGuest {
  readonly #ended: Promise<void>;
  #isRunning = true;

  private constructor(
    private readonly process: ChildProcess,
    private readonly qmp: Qmp,
  ) {
    this.#ended = new Promise((resolve) => {
      const end = () => {
        this.#isRunning = false;
        resolve();
      };
      process.once('exit', end);
      if (process.exitCode !== null || process.signalCode !== null) end();
    });
  }

  /**
   * Ends a QEMU that an earlier process left, then starts a new one.
   * @throws Error that says why QEMU did not start.
   */
  static async start(machine: Described, { qemu, folder, socketFolder }: GuestOptions): Promise<QemuGuest> {
    const files = {
      controlSocket: join(socketFolder, `${machine.name}.qmp`),
      pidFile: join(socketFolder, `${machine.name}.pid`),
      agentSocket: join(socketFolder, `${machine.name}.agent`),
      console: join(folder, 'console.log'),
    };
    await endLeftOver(files);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    // Created here, so that QEMU does not choose the mode: the console holds the guest's data.
    await (await open(files.console, 'a', 0o600)).close();
    const { firmware } = machine;
    const uefi = firmware && { firmware, variables: await variablesIn(folder, firmware) };
    const args = machineArguments({ ...machine, uefi }, files, await accelerator(qemu));
    const child = spawn(qemu, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said = `${said}${text}`.slice(-MAX_SHOWN)));
    try {
      return new QemuGuest(child, await connected(child, files.controlSocket, () => said));
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** Resolves when QEMU has ended, for whatever reason. */
  ended(): Promise<void> {
    return this.#ended;
  }

  /** Presses the power button and waits for the guest. @returns whether it shut down within the limit, ms. */
  async shutDown(limitMs: number): Promise<boolean> {
    if (!this.#isRunning) return true;
    await this.qmp.execute('system_powerdown', {}, ANSWERED_WITHIN_MS).catch(() => undefined);
    await Promise.race([this.#ended, sleep(limitMs, undefined, { ref: false })]);
    return !this.#isRunning;
  }

  /** Like pulling the plug: data that the guest has not flushed is lost. */
  async turnOff(): Promise<void> {
    if (!this.#isRunning) return;
    await this.qmp.execute('quit', {}, ENDED_WITHIN_MS).catch(() => undefined);
    await Promise.race([this.#ended, sleep(ENDED_WITHIN_MS, undefined, { ref: false })]);
    if (this.#isRunning) this.process.kill('SIGKILL');
    await this.#ended;
  }

  /** Writes the contents of the guest's screen to a PNG file. @throws QmpError */
  async screen(file: string): Promise<void> {
    await this.qmp.execute('screendump', { filename: file, format: 'png' }, ANSWERED_WITHIN_MS);
  }
}

/**
 * Two QEMUs would write to the same disks, so the new one starts only when the old one has ended.
 * @throws Error if the old one can't be ended.
 */
async function endLeftOver({ pidFile, controlSocket }: MachineFiles): Promise<void> {
  const pid = Number(await readFile(pidFile, 'utf8').catch(() => Number.NaN));
  if (await isQemuOf(pid, controlSocket)) {
    process.kill(pid, 'SIGKILL');
    const deadline = performance.now() + ENDED_WITHIN_MS;
    while (await isQemuOf(pid, controlSocket)) {
      if (performance.now() > deadline) throw new Error(`the QEMU of an earlier start, process ${pid}, does not end`);
      await sleep(POLL_MS);
    }
  }
  await rm(pidFile, { force: true });
  await rm(controlSocket, { force: true });
}

/** Whether the process is a QEMU with this control socket; another program may have the process ID by now. */
async function isQemuOf(pid: number, controlSocket: string): Promise<boolean> {
  if (!Number.isSafeInteger(pid)) return false;
  const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return commandLine.split('\0').some((argument) => argument.startsWith(`unix:${escaped(controlSocket)},`));
}

async function connected(child: ChildProcess, socket: string, said: () => string): Promise<Qmp> {
  let failed: Error | undefined;
  child.once('error', (error) => (failed = error));
  const deadline = performance.now() + STARTED_WITHIN_MS;
  for (;;) {
    if (failed) throw new Error(`QEMU could not be started: ${failed.message}`, { cause: failed });
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`QEMU ended immediately: ${said().trim() || `exit code ${child.exitCode}`}`);
    }
    try {
      return await Qmp.connect(socket, ANSWERED_WITHIN_MS);
    } catch (error) {
      if (!(error instanceof QmpError) || performance.now() > deadline) throw error;
    }
    await sleep(POLL_MS);
  }
}

/** The machine's own variables, copied from the firmware's template at the first start. */
async function variablesIn(folder: string, { variables }: UefiFirmware): Promise<string> {
  const own = join(folder, 'firmware-variables.fd');
  if (!(await isThere(own))) {
    await copyFile(variables, `${own}.partial`);
    await rename(`${own}.partial`, own);
    await syncFolder(folder);
  }
  return own;
}
