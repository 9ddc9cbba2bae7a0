/** Works with a disk that was opened for this, and closes it whatever comes of it. */
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
