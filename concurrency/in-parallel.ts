/**
 * Runs `load` for up to `depth` items at once and yields the results in the items' order: what keeps a disk, a hash and
 * a store busy at the same time with bounded memory. Leaving early or failing waits for what is still in flight, so
 * nothing goes on behind the caller's back.
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
      // The failure is met when its turn comes; until then it must not count as unhandled.
      loading.catch(() => undefined);
      inFlight.push(loading);
      if (inFlight.length >= depth) yield await inFlight.shift()!;
    }
    while (inFlight.length > 0) yield await inFlight.shift()!;
  } finally {
    await Promise.allSettled(inFlight);
  }
}

/** As `readAhead`, for work whose results nobody wants. */
export async function inParallel<T>(
  items: Iterable<T> | AsyncIterable<T>,
  depth: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  for await (const done of readAhead(items, depth, work)) void done;
}
