import { TestWorkflowEnvironment } from '@temporalio/testing';
import { addSearchAttributes, type SearchAttributeKind } from '../../workers/search-attributes.js';
import { findTestServer } from '../../workers/test-server-executable.js';
import { quietenRuntime } from './quiet-runtime.js';

/** What {@link createTimeSkippingEnvironment} sets up. */
interface TimeSkippingOptions {
  /** Registered before the environment is returned. @default none */
  readonly searchAttributes?: Readonly<Record<string, SearchAttributeKind>>;
}

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
      return await TestWorkflowEnvironment.createTimeSkipping({
        server: { executable: { type: 'existing-path', path } },
      });
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
    }
  }
}
