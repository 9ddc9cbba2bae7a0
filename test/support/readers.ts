/** Programs of others that read and write what we do: the witnesses of the round-trip tests. */
import { execFile, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';
import type { TestContext } from 'vitest';

const execFileAsync = promisify(execFile);

export type Reader =
  | 'qemu-img'
  | 'debugfs'
  | 'mke2fs'
  | 'qemu-io'
  | 'qemu-nbd'
  | 'qemu-system-x86_64'
  | 'nbdcopy'
  | 'nbdinfo'
  | 'nbdkit'
  | 'fio'
  | 'promtool'
  | 'chromium'
  | 'script'
  | 'fincore';

/**
 * Skips the running test when the program is missing. Where FARSHORE_REQUIRE_READERS is set, missing it is a failure:
 * a suite that skipped its witnesses should not look green there.
 */
export function requireReader(reader: Reader, context: Pick<TestContext, 'skip'>): void {
  if (spawnSync(reader, ['--version'], { stdio: 'ignore' }).error === undefined) return;
  if (process.env['FARSHORE_REQUIRE_READERS']) throw new Error(`${reader} is not installed, and required here`);
  context.skip(`${reader} is not installed`);
}

/** Runs it to its end. @returns what it printed. @throws with what it printed when it fails. */
export async function runReader(reader: Reader, ...args: string[]): Promise<string> {
  const { stdout } = await execFileAsync(reader, args, { maxBuffer: 2 ** 26 });
  return stdout;
}
