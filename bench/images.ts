/** Disk images like those of real virtual machines: runs of data of all sizes, with holes in between. */
import { randomBytes } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';

const KiB = 1024;
const MiB = 1024 * KiB;
const SMALLEST_RUN = 64 * KiB;
const LARGEST_RUN = 8 * MiB;
const GRAIN = 4 * KiB;

/** An empty, sparse raw disk. */
export async function createSparse(file: string, size: number): Promise<void> {
  await withNewFile(file, (handle) => handle.truncate(size));
}

/**
 * Creates a sparse raw disk with random bytes in runs of 64 KiB to 8 MiB, with as many small runs as large ones, always
 * in the same places. When this resolves, the disk is durable and in the page cache.
 * @param share share of the disk that is data, 0 to 1.
 * @returns bytes of data.
 */
export async function createPartlyFilled(file: string, size: number, share: number): Promise<number> {
  // Generated once and cut into pieces, because generating random bytes takes longer than writing them.
  const pool = randomBytes(4 * LARGEST_RUN);
  const random = generator(20_260_701);
  const runLength = () => grains(SMALLEST_RUN * (LARGEST_RUN / SMALLEST_RUN) ** random());
  let dataBytes = 0;
  await withNewFile(file, async (handle) => {
    await handle.truncate(size);
    let offset = 0;
    while (offset < size) {
      const length = Math.min(runLength(), size - offset);
      const from = grains(random() * (pool.length - length));
      await handle.write(pool, from, length, offset);
      dataBytes += length;
      offset += length + grains((runLength() * (1 - share)) / share);
    }
    await handle.sync();
  });
  return dataBytes;
}

/**
 * Writes random bytes to blocks all over the disk, each block once; `round` decides which blocks. Durable when this
 * resolves.
 * @param share share of the blocks, 0 to 1.
 * @param round any number.
 * @returns bytes written.
 */
export async function changeBlocks(
  file: string,
  { size, block, share, round }: { size: number; block: number; share: number; round: number },
): Promise<number> {
  const random = generator(round + 1);
  const wanted = Math.round((size / block) * share);
  const blocks = new Set<number>();
  while (blocks.size < wanted) blocks.add(Math.floor((random() * size) / block));
  const handle = await open(file, 'r+');
  try {
    for (const at of blocks) await handle.write(randomBytes(block), 0, block, at * block);
    await handle.sync();
  } finally {
    await handle.close();
  }
  return blocks.size * block;
}

export async function makeDurable(file: string): Promise<void> {
  const handle = await open(file, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const grains = (bytes: number): number => Math.floor(bytes / GRAIN) * GRAIN;

async function withNewFile(file: string, work: (handle: FileHandle) => Promise<void>): Promise<void> {
  const handle = await open(file, 'wx');
  try {
    await work(handle);
  } finally {
    await handle.close();
  }
}

/** Numbers from 0 to 1, always the same for the same seed (the high bits of a linear congruential generator). */
function generator(seed: number): () => number {
  let state = BigInt(seed);
  return () => {
    state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffff_ffff_ffff_ffffn;
    return Number(state >> 32n) / 2 ** 32;
  };
}
