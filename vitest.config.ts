import { existsSync, statfsSync } from 'node:fs';
import { relative } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

// A file to write the results to, for a program that counts them.
const report = process.env['FARSHORE_TEST_REPORT'];

/**
 * What takes longest, and waits most for others, goes first, so that nothing long is left for the end. What is of one
 * project stays together: a process goes on with the next file only while that is of its project.
 */
const longestFirst = [
  'test/faults/wrong-clocks',
  'test/faults/engine-faults-embedded',
  'test/client/end-to-end',
  'test/workflows/host-watch-server',
  'test/faults/',
  'test/client/operations',
  'test/client/refusals',
  'test/workflows/',
  'test/replay/',
  'test/sites/',
  'test/client/',
  'test/activities/',
  'test/workers/',
  'test/temporal/',
  'test/instance/',
  'test/doctor/',
  'test/local/',
  'test/config/',
  'test/contracts/',
  'test/tooling/',
  'test/replication/damaged-records',
  'test/replication/resync',
  'test/replication/seed',
  'test/replication/engine',
  'test/replication/',
  'test/tracking/',
  'test/concurrency/',
  'test/disks/',
  'test/domain/',
];

/** Tests that change their process: they put something in the place of a module, or set its clock. */
const alone = ['test/disks/overlay*.test.ts', 'test/faults/wrong-clocks.test.ts'];

/** Running it for real: other hosts, servers, versions, stores; monitoring, keys, a browser. `npm run test:deployment` runs these. */
const deployment = [
  'test/browser/*.test.ts',
  'test/client/{doctor,hanging-store,hypervisor-command,operator-views,strange-keys,temporal-problems}.test.ts',
  'test/faults/{booted-drill,encrypted-site,engine-faults-azure,killed-drill,stopped-worker,two-sites,versioned-worker,way-back-azure,way-back-embedded}.test.ts',
  'test/sites/azure-*.test.ts',
  'test/temporal/configured-server.test.ts',
  'test/tooling/package.test.ts',
  'test/workers/metrics.test.ts',
];

/** Tests that need no disk that survives a power cut. */
const parts = ['test/{domain,concurrency,disks,tracking,replication}/*.test.ts'];

/**
 * What those sync need not survive a power cut: in memory, where there is room, a sync costs nothing. Real disks are for
 * the tests of whole sites, and for the benchmarks.
 */
const SHARED_MEMORY = '/dev/shm';
const ROOM = 4 * 1024 ** 3;
const inMemory = existsSync(SHARED_MEMORY) && roomIn(SHARED_MEMORY) >= ROOM;

function roomIn(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

/** A fault of the test server, not of what is tested (test/workflows/stuck-server.ts): such a test has shown nothing. */
const stuckServer = { count: 2, condition: /^the test server is stuck: / };

class LongestFirst extends BaseSequencer {
  override sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const place = longestFirst.findIndex((prefix) => relative(import.meta.dirname, moduleId).startsWith(prefix));
      return place === -1 ? longestFirst.length : place;
    };
    return Promise.resolve(files.toSorted((a, b) => rank(a) - rank(b) || a.moduleId.localeCompare(b.moduleId)));
  }
}

export default defineConfig({
  test: {
    environment: './test/support/process-end.ts',
    // For what hangs: real servers and real disks take five times as long on a slow machine that has other work.
    testTimeout: 420_000,
    hookTimeout: 420_000,
    // Processes, not threads: the SDK's native runtime exists once in a process, and tests stop each other's otherwise.
    pool: 'forks',
    // More than there are processors: the long ones wait for servers, heartbeats and timers most of their time.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
    projects: [
      // Loading the code takes longer than most tests: they share it.
      {
        extends: true,
        test: {
          name: 'parts',
          include: parts,
          exclude: alone,
          isolate: false,
          ...(inMemory && { env: { TMPDIR: SHARED_MEMORY } }),
        },
      },
      {
        extends: true,
        test: {
          name: 'sites',
          include: ['test/**/*.test.ts'],
          exclude: [...parts, ...alone, ...deployment],
          isolate: false,
          retry: stuckServer,
        },
      },
      { extends: true, test: { name: 'alone', include: alone } },
      { extends: true, test: { name: 'deployment', include: deployment, isolate: false } },
    ],
    reporters: report ? ['default', ['json', { outputFile: report }]] : ['default'],
  },
});
