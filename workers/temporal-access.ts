/** How Temporal is reached. Every connection of Farshore's is made from one of these. */
import type { ConnectionOptions } from '@temporalio/client';
import { configuredServer, type ConfiguredServer } from './temporal-executables.js';
import { FARSHORE_NAMESPACE } from './temporal-server.js';

export interface TemporalAccess {
  /** Address, TLS, API key and metadata, as `NativeConnection.connect` and `Connection.connect` take them. */
  readonly connectionOptions: ConnectionOptions & ConfiguredServer['connectionOptions'];
  readonly namespace: string;
}

/** Undefined when the environment names no server. @throws as `configuredServer` does. */
export function configuredAccess(env?: NodeJS.ProcessEnv): TemporalAccess | undefined {
  const configured = configuredServer(env);
  return configured && accessOf(configured);
}

export const accessOf = ({ connectionOptions, namespace }: ConfiguredServer): TemporalAccess => ({
  connectionOptions,
  namespace: namespace ?? FARSHORE_NAMESPACE,
});

/**
 * To a server of this machine's own. It speaks no TLS and knows no API key, so none is taken from the environment, where
 * they may be set for another server.
 */
export const plainAccess = (address: string, namespace: string = FARSHORE_NAMESPACE): TemporalAccess => ({
  connectionOptions: { address },
  namespace,
});
