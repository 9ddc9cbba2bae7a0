/** Settings of processes that move blocks. Use the same settings if you start workers in another way. */

/**
 * Node flag: collect garbage sooner. Otherwise many small objects, such as the pages of a cycle, take up to 100 MiB.
 */
export const WORKER_FLAGS: readonly string[] = ['--optimize-for-size'];

/** Variables that are already set are not changed. */
export const processEnvironment = (): Record<string, string> => ({
  // Otherwise the allocator keeps a heap for each of the SDK's many threads: 20 to 70 MiB more for a worker.
  MALLOC_ARENA_MAX: process.env['MALLOC_ARENA_MAX'] ?? '2',
  // Each file that is read, written or synced occupies a thread meanwhile; Node has four by default.
  UV_THREADPOOL_SIZE: process.env['UV_THREADPOOL_SIZE'] ?? '16',
});
