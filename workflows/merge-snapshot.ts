/** Merges the VM snapshot away, slice by slice: a large one takes longer than one request may. */
import type { JobKind } from '../domain/job.js';
import type { JobRun } from './job-run.js';

export async function mergeSnapshot<K extends JobKind>(run: JobRun<K>): Promise<void> {
  const { vm } = run.input;
  await run.loop(
    'merge the VM snapshot',
    -1,
    () => run.agent.mergeSnapshot({ vm }),
    (_, { bytesLeft }) => ({ state: bytesLeft, done: bytesLeft === 0 }),
  );
}
