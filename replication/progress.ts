/** Options and progress reports of every long step of the engine. */

export interface Progress {
  /** Bytes of disk or file processed so far in this call, including holes. */
  readonly bytesDone: number;
  /** The value that `bytesDone` will have at the end, if it is known. */
  readonly bytesTotal: number;
}

export interface StepOptions<P extends Progress = Progress> {
  readonly onProgress?: ((progress: P) => void) | undefined;
  /** Aborting rejects with the signal's reason when everything in flight has ended; the step can be run again. */
  readonly signal?: AbortSignal | undefined;
}

/** Sums up and reports the progress of parallel work. */
export function progressMeter(total: number, options: StepOptions): (bytes: number) => void {
  let done = 0;
  return (bytes) => {
    done += bytes;
    options.onProgress?.({ bytesDone: done, bytesTotal: total });
  };
}
