import { defaultGrpcRetryOptions, makeGrpcRetryInterceptor, type ConnectionPlugin } from '@temporalio/client';
import type { TestWorkflowEnvironment } from '@temporalio/testing';

/**
 * Creates an environment whose `teardown` may be called while calls are under way, as they are when a test has failed.
 * The client repeats a failed call by a timer that knows nothing of a connection that was closed meanwhile: what it throws
 * then nobody can catch, and it would fail the whole run. Here no call is repeated once the teardown has begun, and it
 * waits for those that have been due for it, at most some seconds.
 */
export async function withEndingRetries(
  create: (plugins: ConnectionPlugin[]) => Promise<TestWorkflowEnvironment>,
): Promise<TestWorkflowEnvironment> {
  const usual = defaultGrpcRetryOptions();
  let ending = false;
  let lastDue = 0;
  const interceptor = makeGrpcRetryInterceptor({
    retryableDecider: (attempt, status) => !ending && usual.retryableDecider(attempt, status),
    delayFunction(attempt, status) {
      const delay = usual.delayFunction(attempt, status);
      lastDue = Math.max(lastDue, performance.now() + delay);
      return delay;
    },
  });
  const plugin: ConnectionPlugin = {
    name: 'ending-retries',
    configureConnection: (options) => ({ ...options, interceptors: [interceptor] }),
  };
  const environment = await create([plugin]);
  const teardown = environment.teardown.bind(environment);
  environment.teardown = async () => {
    ending = true;
    // Timers fire in the order they are due: when this one does, the last repetition has been sent.
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, Math.ceil(lastDue - performance.now()) + 1)));
    await teardown();
  };
  return environment;
}
