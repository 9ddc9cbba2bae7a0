import { defineConfig } from 'vitest/config';

// A file to write the results to, for a program that counts them.
const report = process.env['FARSHORE_TEST_REPORT'];

export default defineConfig({
  test: {
    environment: 'node',
    include: ['test/**/*.test.ts'],
    // Real servers and real disks: what takes long is a machine that has other work.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    // Processes, not threads: the SDK's native runtime exists once in a process, and tests stop each other's otherwise.
    pool: 'forks',
    maxWorkers: 2,
    reporters: report ? ['default', ['json', { outputFile: report }]] : ['default'],
  },
});
