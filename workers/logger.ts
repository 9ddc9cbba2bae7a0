/** Structured logs on standard error, one JSON object a line, for the SDK and for us alike. */
import { pino } from 'pino';
import type { Logger, LogLevel, LogMetadata } from '@temporalio/worker';

/** @param role and name of the worker go into every line. */
export function workerLogger(role: string, name: string): Logger {
  const logger = pino(
    { base: { role, name }, level: process.env['FARSHORE_LOG_LEVEL'] ?? 'info' },
    pino.destination(2),
  );
  const at = (level: 'trace' | 'debug' | 'info' | 'warn' | 'error') => (message: string, meta?: LogMetadata) =>
    logger[level](plain(meta), message);
  const write = {
    TRACE: at('trace'),
    DEBUG: at('debug'),
    INFO: at('info'),
    WARN: at('warn'),
    ERROR: at('error'),
  } as const;
  return {
    log: (level: LogLevel, message: string, meta?: LogMetadata) => write[level](message, meta),
    trace: write.TRACE,
    debug: write.DEBUG,
    info: write.INFO,
    warn: write.WARN,
    error: write.ERROR,
  };
}

/** Metadata may hold bigints and errors, which JSON does not know. */
function plain(meta: LogMetadata | undefined): object {
  if (!meta) return {};
  return Object.fromEntries(
    Object.entries(meta).map(([key, value]: [string, unknown]) => {
      if (typeof value === 'bigint') return [key, value.toString()];
      if (value instanceof Error) return [key, { type: value.name, message: value.message, stack: value.stack }];
      return [key, value];
    }),
  );
}
