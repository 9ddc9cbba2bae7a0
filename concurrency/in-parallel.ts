/**
 * Runs `load` for up to `depth` items at the same time and yields the results in the items' order. This keeps a disk, a
 * hash and a store busy at the same time with bounded memory. When the caller leaves early or a load fails, waits for
 * loads in flight, so that nothing continues in the background.
 */
export async function* readAhead<T, R>(
  items: Iterable<T> | AsyncIterable<T>,
  depth: number,
  load: (item: T) => Promise<R>,
): AsyncGenerator<R, void, undefined> {
  const inFlight: Promise<R>[] = [];
  try {
    for await (const item of items) {
      const loading = load(item);
      // The failure is thrown when its turn comes; until then it must not count as unhandled.
      loading.catch(() => undefined);
      inFlight.push(loading);
      if (inFlight.length >= depth) yield await inFlight.shift()!;
    }
    while (inFlight.length > 0) yield await inFlight.shift()!;
  } finally {
    await Promise.allSettled(inFlight);
  }
}

/** As `readAhead`, for work without results. */
export async function inParallel<T>(
  items: Iterable<T> | AsyncIterable<T>,
  depth: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  for await (const done of readAhead(items, depth, work)) void done;
}
