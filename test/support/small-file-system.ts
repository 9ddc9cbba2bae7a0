/** File systems that can be filled: mounting them needs root. */
import { execFile } from 'node:child_process';
import { mkdir, statfs } from 'node:fs/promises';
import { promisify } from 'node:util';
import { onTestFinished, type TestContext } from 'vitest';

const run = promisify(execFile);
/** What is written meanwhile is measured again this often. */
const REMEASURED = 20;

/**
 * Makes a folder that is a file system of its own, in memory, until the running test ends. Skips the test where that
 * is not permitted; with FARSHORE_REQUIRE_READERS that is a failure, as with a reader that is missing.
 */
export async function smallFileSystem(
  folder: string,
  mebibytes: number,
  context: Pick<TestContext, 'skip'>,
): Promise<string> {
  await mkdir(folder);
  try {
    await run('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'farshore-test', folder]);
  } catch (error) {
    const problem = `mounting a small file system needs root: ${(error as Error).message}`;
    if (process.env['FARSHORE_REQUIRE_READERS'])
      throw new Error(`${problem}; and it is required here`, { cause: error });
    context.skip(problem);
  }
  onTestFinished(async () => {
    // Lazily, for a test that failed before it closed its files; fails when the test itself has unmounted it.
    await run('umount', ['-l', folder]).catch(() => undefined);
  });
  return folder;
}

/** Changes how much fits in. */
export async function resize(folder: string, mebibytes: number): Promise<void> {
  await run('mount', ['-o', `remount,size=${mebibytes}m`, folder]);
}

/** Leaves room for so many bytes, rounded down to pages. */
export async function leave(folder: string, bytes: number): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const { blocks, bfree, bsize } = await statfs(folder);
    const size = (blocks - bfree + Math.floor(bytes / bsize)) * bsize;
    try {
      return void (await run('mount', ['-o', `remount,size=${size}`, folder]));
    } catch (error) {
      // Refused when more than that has come to be in use meanwhile.
      if (attempt === REMEASURED) throw error;
    }
  }
}
