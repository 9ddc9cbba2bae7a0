import { isGrpcDeadlineError } from '@temporalio/client';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { addSearchAttributes, type SearchAttributeKind } from '../../temporal/search-attributes.js';
import { findTestServer } from '../../temporal/server/test-server-executable.js';
import { withEndingRetries } from './ending-retries.js';
import { quietenRuntime } from './quiet-runtime.js';
import { sleepsInTurn } from './sleeps-in-turn.js';

/** What {@link createTimeSkippingEnvironment} sets up. */
interface TimeSkippingOptions {
  /** Registered before the environment is returned. @default none */
  readonly searchAttributes?: Readonly<Record<string, SearchAttributeKind>>;
}

/** Nothing asked here takes longer, ms, but for an answer that was lost. */
const ANSWERED_WITHIN_MS = 10_000;
/** The worker notices that its own was lost after half a minute; until then it answers nothing of that workflow. */
const ASKED_TIMES = 8;

/** Times the server is started before its failure is believed: the SDK gives it five seconds, whatever the load. */
const ATTEMPTS = 5;

/**
 * Starts a time-skipping server and connects to it. Time only skips while a workflow's result is awaited through
 * `env.client`, or in `env.sleep`. The caller ends it with `env.teardown()`.
 */
export async function createTimeSkippingEnvironment(
  options: TimeSkippingOptions = {},
): Promise<TestWorkflowEnvironment> {
  quietenRuntime();
  const { path } = await findTestServer();
  const environment = await start(path);
  try {
    await addSearchAttributes(environment.connection, 'default', options.searchAttributes ?? {});
    return environment;
  } catch (error) {
    await environment.teardown();
    throw error;
  }
}

async function start(path: string): Promise<TestWorkflowEnvironment> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const environment: TestWorkflowEnvironment = await withEndingRetries((plugins) =>
        TestWorkflowEnvironment.createTimeSkipping({
          server: { executable: { type: 'existing-path', path } },
          client: {
            interceptors: { workflow: [{ query: (input, next) => untilAnswered(environment, () => next(input)) }] },
          },
          plugins,
        }),
      );
      environment.sleep = sleepsInTurn(environment.sleep);
      return environment;
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
    }
  }
}

/**
 * Asks again when no answer comes. To a worker that is done with a workflow task the server answers now and then with more
 * than gRPC takes; what the worker was asked with that task nobody answers any more.
 */
async function untilAnswered<T>(environment: TestWorkflowEnvironment, ask: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await environment.connection.withDeadline(Date.now() + ANSWERED_WITHIN_MS, ask);
    } catch (error) {
      if (attempt === ASKED_TIMES || !isGrpcDeadlineError(error)) throw error;
    }
  }
}
