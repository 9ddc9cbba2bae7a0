/** The SDK's runtime of a worker: its log, and its metrics if they are requested. */
import { makeTelemetryFilterString, Runtime, type Logger, type RuntimeOptions } from '@temporalio/worker';
import { freePorts } from '../temporal/server/free-port.js';
import type { MetricsAddress } from './metrics-address.js';
import { MetricsEndpoint } from './metrics-endpoint.js';

/** Another process may take a port that was free. */
const ATTEMPTS = 3;
/** Durations of jobs, from a commit to the first copy of a large VM, s. */
const JOB_BUCKETS = [1, 2, 5, 10, 30, 60, 300, 900, 3_600, 14_400, 86_400];

/**
 * To be called once in a process, before anything else of the SDK is used.
 * @returns the server of the metrics, if an address is given. @throws MetricsAddressError
 */
export async function installRuntime(
  logger: Logger,
  address: MetricsAddress | undefined,
): Promise<MetricsEndpoint | undefined> {
  const logging = { filter: makeTelemetryFilterString({ core: 'WARN' }), forward: {} };
  if (!address) {
    Runtime.install({ logger, telemetryOptions: { logging } });
    return undefined;
  }
  const endpoint = await MetricsEndpoint.open(address);
  for (let attempt = 1; ; attempt += 1) {
    const [port] = (await freePorts(1)) as [number];
    try {
      Runtime.install({ logger, telemetryOptions: { logging, metrics: metricsAt(port) } });
      endpoint.addSdk(port);
      return endpoint;
    } catch (error) {
      if (attempt < ATTEMPTS) continue;
      await endpoint.close();
      throw error;
    }
  }
}

const metricsAt = (port: number): NonNullable<NonNullable<RuntimeOptions['telemetryOptions']>['metrics']> => ({
  // Prometheus identifies the process by its address.
  attachServiceName: false,
  prometheus: {
    bindAddress: `127.0.0.1:${port}`,
    countersTotalSuffix: true,
    unitSuffix: true,
    useSecondsForDurations: true,
    histogramBucketOverrides: { farshore_job_duration: JOB_BUCKETS },
  },
});
