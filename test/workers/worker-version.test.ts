/** Which build of the Azure worker is current: on a real server, which alone knows of versions. */
import { Connection } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { deploymentName, makeCurrent, versioningOptions } from '../../workers/worker-version.js';
import type { DevServer } from '../../temporal/server/dev-server.js';
import { startTestDevServer } from '../support/dev-server.js';
import { quietenRuntime } from '../support/quiet-runtime.js';

const VAULT = 'vault-01';
let server: DevServer;
let connection: NativeConnection;
beforeAll(async () => {
  quietenRuntime();
  server = await startTestDevServer();
  connection = await NativeConnection.connect({ address: server.address });
});
afterAll(async () => {
  await connection?.close();
  await server?.stop();
});

test('a build that was replaced does not become current when it is restarted', { timeout: 120_000 }, async () => {
  const { address, namespace } = server;
  const name = deploymentName(VAULT);
  /** Starts a worker of the build, and stops it. @returns what became of it, and which build is current then. */
  const started = async (buildId: string | undefined) => {
    const version = buildId === undefined ? undefined : { deploymentName: name, buildId };
    const worker = await Worker.create({
      ...{ connection, namespace, taskQueue: `azure:${VAULT}` },
      activities: { nothing: () => Promise.resolve() },
      ...(version && versioningOptions(version)),
    });
    return await worker.runUntil(async () => {
      const currency = await makeCurrent({ address }, namespace, VAULT, version, 'a test');
      const client = await Connection.connect({ address });
      const { workerDeploymentInfo } = await client.workflowService.describeWorkerDeployment({
        namespace,
        deploymentName: name,
      });
      await client.close();
      return [currency, workerDeploymentInfo?.routingConfig?.currentDeploymentVersion?.buildId ?? ''];
    });
  };
  expect(await started('first')).toEqual(['current', 'first']);
  expect(await started('second')).toEqual(['current', 'second']);
  expect(await started('first')).toEqual(['replaced', 'second']);
  // Versioning is turned off, and on again.
  expect(await started(undefined)).toEqual(['current', '']);
  expect(await started('first')).toEqual(['current', 'first']);
});
