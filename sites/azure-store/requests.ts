/**
 * How requests to the storage service are made: with a time limit, and repeated if the network or the service fails,
 * after the pause that the service asks for (`Retry-After`), or if refused credentials have been replaced. A lasting
 * failure becomes an error of the catalogue; the ladder retries recoverable ones.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { RestError } from '@azure/storage-blob';
import { CatalogueError } from '../../domain/errors.js';
import type { ContainerAccess } from './container-access.js';
import { isRecoverable, isRefusal, isTimeout, storeError } from './store-errors.js';

export interface RequestLimits {
  /** Time limit of one request. */
  readonly timeoutMs: number;
  /** Time limit of a request that moves little data. @default timeoutMs */
  readonly smallTimeoutMs?: number;
  readonly tries: number;
  /** Delay before the second try; doubled before each further one. */
  readonly firstDelayMs: number;
  /** Longest wait within an activity; the ladder handles longer ones. */
  readonly longestDelayMs: number;
}

/** Bytes: a request up to this size moves little data. 256 KiB take 2 s on a line of 1 Mbit/s. */
const SMALL = 256 * 1024;
/** Tries of a request that gets no answer: if the service hangs, the ladder takes over. */
const TRIES_IN_TIME = 2;

/** A request moves at most 4 MiB; 60 s are enough for that on a line of 1 Mbit/s. */
export const REQUEST_LIMITS: RequestLimits = {
  timeoutMs: 60_000,
  smallTimeoutMs: 15_000,
  tries: 4,
  firstDelayMs: 400,
  longestDelayMs: 30_000,
};

export class Requests {
  constructor(
    private readonly access: ContainerAccess,
    /** Name of the store in error messages. */
    private readonly where: string,
    private readonly limits: RequestLimits = REQUEST_LIMITS,
  ) {}

  /**
   * @param send may be called several times, and must get the client again each time.
   * @param bytes that the request moves, if known.
   * @throws the last error of `send`; `failed` turns it into an error of the catalogue.
   */
  async send<T>(send: (signal: AbortSignal) => Promise<T>, bytes = 0): Promise<T> {
    const { tries, timeoutMs, smallTimeoutMs = timeoutMs, firstDelayMs, longestDelayMs } = this.limits;
    let timeouts = 0;
    for (let attempt = 1; ; attempt += 1) {
      const { client } = this.access;
      try {
        return await send(AbortSignal.timeout(bytes > SMALL ? timeoutMs : smallTimeoutMs));
      } catch (error) {
        if (isRefusal(error)) {
          this.access.renew?.();
          if (this.access.client === client) throw error;
          continue;
        }
        if (isTimeout(error)) timeouts += 1;
        if (timeouts >= TRIES_IN_TIME) throw error;
        const delay = retryAfter(error) ?? firstDelayMs * 2 ** (attempt - 1);
        if (attempt >= tries || delay > longestDelayMs || !isRecoverable(error)) throw error;
        await sleep(delay);
      }
    }
  }

  /** As `send`. @throws CatalogueError */
  async do<T>(doing: string, send: (signal: AbortSignal) => Promise<T>, bytes = 0): Promise<T> {
    try {
      return await this.send(send, bytes);
    } catch (error) {
      throw this.failed(doing, error);
    }
  }

  failed = (doing: string, error: unknown): unknown => {
    const why = isRefusal(error) ? this.access.whyRefused?.(answeredAt(error)) : undefined;
    if (!why) return storeError(error, doing, this.where);
    return new CatalogueError(why.code, `${doing} in ${this.where}: ${why.detail}`, { cause: error });
  };
}

/** By the service's clock, ms since 1970; by this machine's if the service gives no time. */
function answeredAt(error: RestError): number {
  const at = Date.parse(error.response?.headers.get('date') ?? '');
  return Number.isNaN(at) ? Date.now() : at;
}

/** The pause that the service asks for, ms. */
function retryAfter(error: unknown): number | undefined {
  if (!(error instanceof RestError)) return undefined;
  const asked = error.response?.headers.get('retry-after');
  if (asked === undefined) return undefined;
  const seconds = Number(asked);
  const delay = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(asked) - answeredAt(error);
  return Number.isFinite(delay) ? Math.max(0, delay) : undefined;
}
