/** Syncs that fail, as those of a device that is failing do: a library that is preloaded into processes started from now on. */
import { execFile } from 'node:child_process';
import { rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

const SOURCE = path.join(import.meta.dirname, 'preloaded-sync-fault.c');
const CONTROL = 'FARSHORE_TEST_SYNC_FAULT';

export class PreloadedSyncFault {
  private constructor(
    private readonly control: string,
    /** Of the processes whose syncs are to fail. */
    readonly environment: Readonly<Record<string, string>>,
  ) {}

  /** @param folder for the library. @returns undefined where there is no C compiler, or no glibc. */
  static async compile(folder: string): Promise<PreloadedSyncFault | undefined> {
    const library = path.join(folder, 'preloaded-sync-fault.so');
    const control = path.join(folder, 'preloaded-sync-fault');
    try {
      await promisify(execFile)('cc', ['-shared', '-fPIC', '-O1', '-o', library, SOURCE, '-ldl']);
    } catch {
      return undefined;
    }
    return new PreloadedSyncFault(control, { LD_PRELOAD: library, [CONTROL]: control });
  }

  /** From now on each sync of a file below the folder fails with EIO, until `mend`. */
  async failBelow(folder: string): Promise<void> {
    await writeFile(`${this.control}.new`, folder);
    await rename(`${this.control}.new`, this.control);
  }

  async mend(): Promise<void> {
    await rm(this.control, { force: true });
  }
}
