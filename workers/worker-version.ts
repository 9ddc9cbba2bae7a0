/**
 * Optional worker versioning: the Azure worker of a vault, which runs the workflows, is a deployment, and each of its
 * builds is a version. The server sends tasks to the current version only, which is the newest build: a build makes
 * itself current when it is first started. A build that has been replaced does not, however often it is restarted.
 * Protections live for years and must move on: every workflow is upgraded automatically (AUTO_UPGRADE), with the same
 * replay that brings it to a new worker without versions.
 */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection, isGrpcServiceError, type ConnectionOptions } from '@temporalio/client';
import proto from '@temporalio/proto';
import type { WorkerOptions } from '@temporalio/worker';
import { packageVersion } from '../config/package-files.js';

export interface WorkerVersion {
  readonly deploymentName: string;
  readonly buildId: string;
}

/** A version becomes known a moment after its worker has begun to poll, ms. */
const KNOWN_WITHIN_MS = 60_000;
const PAUSE_MS = 250;
/** gRPC status codes: the version or its queues are not known yet. */
const NOT_YET: readonly number[] = [5, 9];
/** gRPC status codes: there is no deployment, no permission, or the server does not support versions. */
const NONE: readonly number[] = [5, 7, 12];

/** The deployment's name; a point would end it where a version is written as one word. */
export const deploymentName = (vault: string): string => `farshore-${vault.replaceAll('.', '_')}`;

/**
 * Undefined unless FARSHORE_WORKER_VERSIONING is 1.
 * @param bundle of the workflows: its digest and the package's version make the build id, unless FARSHORE_WORKER_BUILD
 * sets it.
 */
export function workerVersion(
  vault: string,
  bundle: string,
  env: NodeJS.ProcessEnv = process.env,
): WorkerVersion | undefined {
  if (env['FARSHORE_WORKER_VERSIONING'] !== '1') return undefined;
  const digest = createHash('sha256').update(bundle).digest('hex').slice(0, 12);
  return {
    deploymentName: deploymentName(vault),
    buildId: env['FARSHORE_WORKER_BUILD'] || `${packageVersion()}-${digest}`,
  };
}

/** The log message of a worker that stays idle. */
export const replacedText = ({ deploymentName, buildId }: WorkerVersion): string =>
  `This worker's build ${buildId} was replaced by another build, which is current: this worker gets no work. To go back to its build: ` +
  `temporal worker deployment set-current-version --deployment-name ${deploymentName} --build-id ${buildId}`;

export const versioningOptions = (version: WorkerVersion): Pick<WorkerOptions, 'workerDeploymentOptions'> => ({
  workerDeploymentOptions: { version, useWorkerVersioning: true, defaultVersioningBehavior: 'AUTO_UPGRADE' },
});

/** `replaced`: another build is current, and this one was before. */
export type Currency = 'current' | 'unchanged' | 'replaced';

/**
 * Makes the server send tasks to the worker that has just begun to poll. Without a version: to workers without one, in
 * case a version was current, so that turning versioning off leaves no workflow waiting.
 * @throws the gRPC error if it does not succeed in time.
 */
export async function makeCurrent(
  connectionOptions: ConnectionOptions,
  namespace: string,
  vault: string,
  version: WorkerVersion | undefined,
  identity: string,
): Promise<Currency> {
  const connection = Connection.lazy(connectionOptions);
  const name = deploymentName(vault);
  const deadline = performance.now() + KNOWN_WITHIN_MS;
  try {
    const deployment = await describe(connection, namespace, name);
    if (!version && currentBuild(deployment) === '') return 'unchanged';
    if (version && isReplaced(deployment, version.buildId)) return 'replaced';
    for (;;) {
      try {
        await connection.workflowService.setWorkerDeploymentCurrentVersion({
          ...{ namespace, deploymentName: name, buildId: version?.buildId ?? '', identity },
          // Queues of former versions may be gone for good.
          ignoreMissingTaskQueues: true,
        });
        return 'current';
      } catch (error) {
        if (!isNotYet(error) || performance.now() > deadline) throw error;
        await sleep(PAUSE_MS);
      }
    }
  } finally {
    await connection.close();
  }
}

type Deployment = NonNullable<
  Awaited<ReturnType<Connection['workflowService']['describeWorkerDeployment']>>['workerDeploymentInfo']
>;

/** @returns undefined if there is no deployment, as before the first version. */
async function describe(connection: Connection, namespace: string, name: string): Promise<Deployment | undefined> {
  try {
    const answer = await connection.workflowService.describeWorkerDeployment({ namespace, deploymentName: name });
    return answer.workerDeploymentInfo ?? undefined;
  } catch (error) {
    if (isGrpcServiceError(error) && NONE.includes(Number(error.code))) return undefined;
    throw error;
  }
}

const currentBuild = (deployment: Deployment | undefined): string =>
  deployment?.routingConfig?.currentDeploymentVersion?.buildId ?? '';

/** A version that was current and no longer is drains; one that never was is inactive. */
const { WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING: DRAINING, WORKER_DEPLOYMENT_VERSION_STATUS_DRAINED: DRAINED } =
  proto.temporal.api.enums.v1.WorkerDeploymentVersionStatus;

function isReplaced(deployment: Deployment | undefined, buildId: string): boolean {
  const versions = deployment?.versionSummaries ?? [];
  const status = versions.find(({ deploymentVersion }) => deploymentVersion?.buildId === buildId)?.status;
  // If versioning was turned off, no build has replaced it.
  return currentBuild(deployment) !== '' && (status === DRAINING || status === DRAINED);
}

const isNotYet = (error: unknown): boolean => isGrpcServiceError(error) && NOT_YET.includes(Number(error.code));
