/**
 * How a request to the storage service is made: with a time to answer in, and again when the network or the service
 * failed, waiting as long as the service asks (`Retry-After`). What fails on is an error of the catalogue: the ladder
 * tries recoverable ones again.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { RestError } from '@azure/storage-blob';
import { isRecoverable, storeError } from './store-errors.js';

export interface RequestLimits {
  /** Of one request. */
  readonly timeoutMs: number;
  readonly tries: number;
  /** Before the second try; doubled before each further one. */
  readonly firstDelayMs: number;
  /** Longer than this nobody waits inside an activity: the ladder has more patience. */
  readonly longestDelayMs: number;
}

/** A request moves 4 MiB at most; 60 s are enough for it on a line of 1 Mbit/s. */
export const REQUEST_LIMITS: RequestLimits = {
  timeoutMs: 60_000,
  tries: 4,
  firstDelayMs: 400,
  longestDelayMs: 30_000,
};

export class Requests {
  constructor(
    /** The store, as error messages call it. */
    private readonly where: string,
    private readonly limits: RequestLimits = REQUEST_LIMITS,
  ) {}

  /**
   * @param send may be called several times.
   * @throws what `send` threw last; `failed` makes an error of the catalogue of it.
   */
  async send<T>(send: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { tries, timeoutMs, firstDelayMs, longestDelayMs } = this.limits;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await send(AbortSignal.timeout(timeoutMs));
      } catch (error) {
        const delay = retryAfter(error) ?? firstDelayMs * 2 ** (attempt - 1);
        if (attempt >= tries || delay > longestDelayMs || !isRecoverable(error)) throw error;
        await sleep(delay);
      }
    }
  }

  /** As `send`. @throws CatalogueError */
  async do<T>(doing: string, send: (signal: AbortSignal) => Promise<T>): Promise<T> {
    try {
      return await this.send(send);
    } catch (error) {
      throw this.failed(doing, error);
    }
  }

  failed = (doing: string, error: unknown): unknown => storeError(error, doing, this.where);
}

/** Milliseconds that the service asks to wait. */
function retryAfter(error: unknown): number | undefined {
  if (!(error instanceof RestError)) return undefined;
  const asked = error.response?.headers.get('retry-after');
  if (asked === undefined) return undefined;
  const seconds = Number(asked);
  const delay = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(asked) - Date.now();
  return Number.isFinite(delay) ? Math.max(0, delay) : undefined;
}
