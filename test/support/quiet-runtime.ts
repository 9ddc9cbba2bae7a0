import { DefaultLogger, Runtime } from '@temporalio/worker';

/** The SDK's runtime exists once in a process and logs at INFO unless installed otherwise before its first use. */
export function quietenRuntime(): void {
  try {
    Runtime.install({ logger: new DefaultLogger('WARN') });
  } catch {
    // Installed already, by an earlier environment or by another file of tests.
  }
}
