/**
 * Lets several sleep at once on a time-skipping server, which can't have it: for each sleep it takes one lock off the time,
 * and a second one's is the lock that a workflow's task holds. Once there are fewer than none it fails whatever it is asked
 * for that would take one off, a task that was done among it, and answers with a list of all locks, more than gRPC takes:
 * the worker hears nothing, and that workflow does not go on.
 *
 * @param sleep one on the server.
 * @returns one that begins when those before it have ended. Who asks for as long as another that waits sleeps with it.
 */
export function sleepsInTurn<D>(sleep: (duration: D) => Promise<void>): (duration: D) => Promise<void> {
  const waiting = new Map<D, Promise<void>>();
  let last = Promise.resolve();
  return (duration) => {
    const shared = waiting.get(duration);
    if (shared) return shared;
    const slept = last.then(() => {
      waiting.delete(duration);
      return sleep(duration);
    });
    waiting.set(duration, slept);
    last = slept.catch(() => {});
    return slept;
  };
}
