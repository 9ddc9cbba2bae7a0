/**
 * How a request to the storage service is made: with a time to answer in, and again when the network or the service
 * failed, waiting as long as the service asks (`Retry-After`), or when other credentials have replaced those it refused.
 * What fails on is an error of the catalogue: the ladder tries recoverable ones again.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { RestError } from '@azure/storage-blob';
import { CatalogueError } from '../../domain/errors.js';
import type { ContainerAccess } from './container-access.js';
import { isRecoverable, isRefusal, isTimeout, storeError } from './store-errors.js';

export interface RequestLimits {
  /** Of one request. */
  readonly timeoutMs: number;
  /** Of one that moves little. @default timeoutMs */
  readonly smallTimeoutMs?: number;
  readonly tries: number;
  /** Before the second try; doubled before each further one. */
  readonly firstDelayMs: number;
  /** Longer than this nobody waits inside an activity: the ladder has more patience. */
  readonly longestDelayMs: number;
}

/** Bytes: up to here a request moves little. 256 KiB take 2 s on a line of 1 Mbit/s. */
const SMALL = 256 * 1024;
/** A service that hangs is no matter of a moment, but one of the ladder's. */
const TRIES_IN_TIME = 2;

/** A request moves 4 MiB at most; 60 s are enough for it on a line of 1 Mbit/s. */
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
    /** The store, as error messages call it. */
    private readonly where: string,
    private readonly limits: RequestLimits = REQUEST_LIMITS,
  ) {}

  /**
   * @param send may be called several times, each time to ask for the client anew.
   * @param bytes that the request moves, as far as they are known.
   * @throws what `send` threw last; `failed` makes an error of the catalogue of it.
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

/** By the service's clock, ms since 1970; by this machine's when it does not say. */
function answeredAt(error: RestError): number {
  const at = Date.parse(error.response?.headers.get('date') ?? '');
  return Number.isNaN(at) ? Date.now() : at;
}

/** Milliseconds that the service asks to wait. */
function retryAfter(error: unknown): number | undefined {
  if (!(error instanceof RestError)) return undefined;
  const asked = error.response?.headers.get('retry-after');
  if (asked === undefined) return undefined;
  const seconds = Number(asked);
  const delay = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(asked) - answeredAt(error);
  return Number.isFinite(delay) ? Math.max(0, delay) : undefined;
}
