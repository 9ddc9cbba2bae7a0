/**
 * As `Promise.all`, but waits for all of them in any case: whoever lets go of a lock or a buffer after a failure must
 * not leave reads and writes behind that are still under way.
 * @throws the first failure.
 */
export async function settleAll<T>(work: readonly Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(work);
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
}
