/** What every long step of the engine takes besides its arguments, and what it tells while it runs. */

export interface Progress {
  /** Bytes of disk or file worked through so far in this call, holes included. */
  readonly bytesDone: number;
  /** What `bytesDone` will be at the end, when it is known. */
  readonly bytesTotal: number;
}

export interface StepOptions<P extends Progress = Progress> {
  readonly onProgress?: ((progress: P) => void) | undefined;
  /** Aborting rejects with the signal's reason once what is in flight has ended; the step can be run again. */
  readonly signal?: AbortSignal | undefined;
}

/** Adds up what parallel workers did and tells it on. */
export function progressMeter(total: number, options: StepOptions): (bytes: number) => void {
  let done = 0;
  return (bytes) => {
    done += bytes;
    options.onProgress?.({ bytesDone: done, bytesTotal: total });
  };
}
