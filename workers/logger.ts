/** Structured logs on standard error, one JSON object per line, for the SDK and for Farshore. */
import { pino, type DestinationStream } from 'pino';
import type { Logger, LogLevel, LogMetadata } from '@temporalio/worker';
import { fieldsOfWorkflow, type WorkFields } from '../domain/work-fields.js';

/**
 * @param role and name of the worker are added to every line.
 * @param work is added as well, unless the line has its own values.
 * @param destination of the lines. @default standard error
 */
export function workerLogger(
  role: string,
  name: string,
  work: WorkFields = {},
  destination: DestinationStream = pino.destination(2),
): Logger {
  const logger = pino({ base: { role, name }, level: process.env['FARSHORE_LOG_LEVEL'] ?? 'info' }, destination);
  const at = (level: 'trace' | 'debug' | 'info' | 'warn' | 'error') => (message: string, meta?: LogMetadata) =>
    logger[level](plain(meta, work), message);
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

/** Metadata may contain bigints and errors, which JSON does not support. A workflow's id determines the VM. */
function plain(meta: LogMetadata = {}, work: WorkFields): object {
  const workflowId: unknown = meta['workflowId'] ?? meta['workflow_id'];
  const ofWorkflow = typeof workflowId === 'string' ? fieldsOfWorkflow(workflowId) : {};
  return Object.fromEntries(
    Object.entries({ ...work, ...ofWorkflow, ...meta }).map(([key, value]: [string, unknown]) => {
      if (typeof value === 'bigint') return [key, value.toString()];
      if (value instanceof Error) return [key, { type: value.name, message: value.message, stack: value.stack }];
      return [key, value];
    }),
  );
}
