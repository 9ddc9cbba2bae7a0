/** How processes that move blocks are started. Whoever starts workers in another way does well to do the same. */

/** Of Node: collects garbage sooner. What is small and many, as the pages of a cycle, would be 100 MiB of it at times. */
export const WORKER_FLAGS: readonly string[] = ['--optimize-for-size'];

/** What is set already stays as it is. */
export const processEnvironment = (): Record<string, string> => ({
  // The allocator would keep a heap for each of the SDK's many threads: 20 to 70 MiB more for a worker.
  MALLOC_ARENA_MAX: process.env['MALLOC_ARENA_MAX'] ?? '2',
  // Each file that is read, written or synced occupies a thread while it waits; Node has four.
  UV_THREADPOOL_SIZE: process.env['UV_THREADPOOL_SIZE'] ?? '16',
});
