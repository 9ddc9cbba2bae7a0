/** How large the benches of what grows are: as a site may become, or what the environment says, for a quick run. */
const sizeOf = (variable: string, otherwise: number): number => {
  const given = Number(process.env[variable] ?? otherwise);
  if (Number.isSafeInteger(given) && given > 0) return given;
  throw new Error(`${variable} is ${process.env[variable]}: give a whole number above 0`);
};

export const growthSizes = {
  /** Of the disk whose copy writes records. */
  diskGiB: () => sizeOf('FARSHORE_BENCH_DISK_GIB', 1024),
  points: () => sizeOf('FARSHORE_BENCH_POINTS', 2_880),
  /** In one log. */
  writes: () => sizeOf('FARSHORE_BENCH_WRITES', 20_000_000),
  /** Content of the cycle that is cut off. */
  cycleMiB: () => sizeOf('FARSHORE_BENCH_CYCLE_MIB', 4_096),
};
