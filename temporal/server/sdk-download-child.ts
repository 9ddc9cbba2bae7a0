/**
 * The process in which the Temporal SDK downloads a server. It is separate because the SDK's download has no time limit
 * and cannot be cancelled, and because it installs the process-wide SDK runtime, which a worker configures itself.
 *
 * Arguments: `dev-server` or `time-skipping`, and the folder for the download. The SDK only downloads servers that it
 * also starts, so the server is started once and stopped.
 */
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime } from '@temporalio/worker';

const [kind, downloadDir] = process.argv.slice(2);
if ((kind !== 'dev-server' && kind !== 'time-skipping') || downloadDir === undefined) {
  throw new Error('expected the arguments: dev-server|time-skipping <folder>');
}
Runtime.install({ logger: new DefaultLogger('ERROR') });
// The caller moves the file out of this folder, so its age does not matter.
const executable = { type: 'cached-download', downloadDir, ttl: '3650 days' } as const;
try {
  const environment =
    kind === 'dev-server'
      ? await TestWorkflowEnvironment.createLocal({ server: { executable } })
      : await TestWorkflowEnvironment.createTimeSkipping({ server: { executable } });
  await environment.teardown();
} catch (error) {
  // The SDK's message is sufficient; its stack would hide it in the caller's list of attempts.
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
