/**
 * Sizes of the benches that measure growth: by default those of a large site; the environment may set smaller ones for
 * a quick run.
 */
const sizeOf = (variable: string, otherwise: number): number => {
  const given = Number(process.env[variable] ?? otherwise);
  if (Number.isSafeInteger(given) && given > 0) return given;
  throw new Error(`${variable} is ${process.env[variable]}: give a whole number above 0`);
};

export const growthSizes = {
  /** Size of the disk whose copy writes the records. */
  diskGiB: () => sizeOf('FARSHORE_BENCH_DISK_GIB', 1024),
  points: () => sizeOf('FARSHORE_BENCH_POINTS', 2_880),
  /** Number of writes in one log. */
  writes: () => sizeOf('FARSHORE_BENCH_WRITES', 20_000_000),
  /** Contents of the cycle that is cut off. */
  cycleMiB: () => sizeOf('FARSHORE_BENCH_CYCLE_MIB', 4_096),
};
