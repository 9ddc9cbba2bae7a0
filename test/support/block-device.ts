/** Block devices: making them needs root. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { onTestFinished, type TestContext } from 'vitest';

const run = promisify(execFile);

/** A block device of a file, until the running test ends; skips the test where none can be had. */
export async function blockDevice(file: string, context: Pick<TestContext, 'skip'>): Promise<string> {
  try {
    const { stdout } = await run('losetup', ['--show', '-f', file]);
    const device = stdout.trim();
    onTestFinished(async () => void (await run('losetup', ['-d', device])));
    return device;
  } catch (error) {
    if (process.env['FARSHORE_REQUIRE_READERS']) throw error;
    return context.skip(`no block device can be made: ${(error as Error).message}`);
  }
}
