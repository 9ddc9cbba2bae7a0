/** The Temporal of an instance: either the one that the environment names or its own server, prepared for Farshore. */
import type { DataFolder, Instance } from '../config/data-folder.js';
import { CodecServer } from '../temporal/encryption/codec-server.js';
import { EncryptionCodec } from '../temporal/encryption/codec.js';
import type { KeyRing } from '../temporal/encryption/key-ring.js';
import { KeptServer } from './kept-server.js';
import { prepareTemporal } from '../temporal/prepared-temporal.js';
import { connectTarget, type ConnectTarget } from '../temporal/connection.js';
import { findDevServer } from '../temporal/server/executables.js';
import type { DevServer } from '../temporal/server/dev-server.js';

export type TemporalPlace = Instance['temporal'];

export interface TemporalOptions {
  readonly data: DataFolder;
  readonly onProgress: (line: string) => void;
  readonly temporalPort?: number;
  readonly uiPort?: number;
}

interface FoundTemporal {
  readonly temporal: TemporalPlace;
  readonly target: ConnectTarget;
  /** Set if it is the instance's own server. */
  readonly server?: KeptServer;
  readonly codecEndpoint?: string;
}

/** @param onRestart called with its location after the instance's own server was restarted. */
export async function findTemporal(
  options: TemporalOptions,
  keys: KeyRing | undefined,
  endings: (() => Promise<void>)[],
  onRestart: (temporal: TemporalPlace) => Promise<void>,
): Promise<FoundTemporal> {
  const found = await findDevServer({ onProgress: options.onProgress });
  let reached: FoundTemporal;
  if (found.kind === 'address') {
    options.onProgress(`Using Temporal at ${found.address}`);
    const target = connectTarget();
    reached = { temporal: { address: target.address, namespace: target.namespace }, target };
  } else {
    options.onProgress('Starting Temporal');
    reached = await startTemporal(found.path, options, keys, endings, onRestart);
  }
  await prepareTemporal(reached.target, options.onProgress);
  return reached;
}

/** Starts the instance's own server, with a Web UI that shows encrypted data. */
async function startTemporal(
  executable: string,
  { data, temporalPort, uiPort, onProgress }: TemporalOptions,
  keys: KeyRing | undefined,
  endings: (() => Promise<void>)[],
  onRestart: (temporal: TemporalPlace) => Promise<void>,
): Promise<FoundTemporal> {
  // The Web UI gets the codec server's address at its start; the codec server gets the Web UI's once that has a port.
  let uiUrl: URL | undefined;
  const allows = (origin: string) =>
    uiUrl !== undefined && [uiUrl.origin, `http://localhost:${uiUrl.port}`].includes(origin);
  const codecServer = keys && (await CodecServer.listen({ codec: new EncryptionCodec(keys), port: 0, allows }));
  if (codecServer) endings.push(() => codecServer.close());
  const server = await KeptServer.start({
    executable,
    dbFile: data.temporalDatabase(),
    logFile: data.log('temporal'),
    ...(temporalPort !== undefined && { port: temporalPort }),
    ...(uiPort !== undefined && { uiPort }),
    ...(codecServer && { codecEndpoint: codecServer.url }),
    onEvent: onProgress,
    onRestart: (restarted) => onRestart(temporalOf(restarted)),
  });
  endings.push(() => server.stop());
  const temporal = temporalOf(server.current);
  uiUrl = new URL(server.current.uiUrl);
  const { address, namespace } = temporal;
  const target = connectTarget({ address, namespace, configuredBy: 'this instance' });
  return { temporal, target, server, ...(codecServer && { codecEndpoint: codecServer.url }) };
}

export const temporalOf = ({ address, namespace, uiUrl, pid }: DevServer): TemporalPlace => ({
  address,
  namespace,
  uiUrl,
  pid,
});
