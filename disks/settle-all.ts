/**
 * As `Promise.all`, but always waits for all promises: after a failure, a caller that releases a lock or a buffer must
 * not leave reads and writes in progress.
 * @throws the first failure.
 */
export async function settleAll<T>(work: readonly Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(work);
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
}
