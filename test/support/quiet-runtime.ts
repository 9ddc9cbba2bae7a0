import { EventEmitter } from 'node:events';
import { DefaultLogger, makeTelemetryFilterString, Runtime, type LogEntry } from '@temporalio/worker';

/** Tells what the SDK warns of, its native part too: some of it means that what a test waits for never comes. */
export const sdkWarnings = new EventEmitter<{ warning: [LogEntry] }>();

const printed = new DefaultLogger('WARN');
const logger = new DefaultLogger('WARN', (entry) => {
  printed.log(entry.level, entry.message, entry.meta);
  sdkWarnings.emit('warning', entry);
});

/** The SDK's runtime exists once in a process and logs at INFO unless installed otherwise before its first use. */
export function quietenRuntime(): void {
  try {
    Runtime.install({
      logger,
      telemetryOptions: { logging: { filter: makeTelemetryFilterString({ core: 'WARN' }), forward: {} } },
    });
  } catch {
    // Installed already, by an earlier environment or by another file of tests.
  }
}
