/** Change sets, as they are made for the engine, and gone through without it. */
import type { ChangeRange, ChangeSet, DiskChanges } from '../../ports/change-source.js';

/** What a disk's `ranges` are. @param size of a batch. */
export const inBatches = (ranges: Iterable<ChangeRange>, size = 3): AsyncIterable<readonly ChangeRange[]> => ({
  async *[Symbol.asyncIterator]() {
    let batch: ChangeRange[] = [];
    for (const range of ranges) {
      batch.push(range);
      if (batch.length < size) continue;
      yield batch;
      batch = [];
    }
    if (batch.length > 0) yield batch;
  },
});

export async function allRanges({ ranges }: DiskChanges): Promise<ChangeRange[]> {
  const all: ChangeRange[] = [];
  for await (const batch of ranges) all.push(...batch);
  return all;
}

/** Brings plain copies of the disks forward, and closes the change set. */
export async function applyChanges(changes: ChangeSet, copies: ReadonlyMap<string, Buffer>): Promise<void> {
  for (const disk of changes.disks) {
    const copy = copies.get(disk.name)!;
    for (const range of await allRanges(disk)) (await disk.read(range, range)).copy(copy, range.offset);
  }
  await changes.close();
}
