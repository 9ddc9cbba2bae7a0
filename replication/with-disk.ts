/** Uses a disk that is opened for this purpose, and closes it in any case. */
export async function withDisk<D extends { close(): Promise<void> }, T>(
  opened: Promise<D>,
  work: (disk: D) => Promise<T>,
): Promise<T> {
  const disk = await opened;
  try {
    return await work(disk);
  } finally {
    await disk.close();
  }
}
