/** One signal for all the ways in which a process is told to stop. */

/**
 * Aborts on SIGTERM and SIGINT. Under a supervisor, also when standard input ends, which happens when the supervisor
 * dies.
 */
export function stopSignal(options: { withSupervisor: boolean }): AbortSignal {
  const stopping = new AbortController();
  const stop = () => stopping.abort();
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  if (options.withSupervisor) {
    process.stdin.once('end', stop).once('error', stop);
    process.stdin.resume();
  }
  return stopping.signal;
}
