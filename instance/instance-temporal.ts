/** The Temporal of an instance: the one that the environment names, or one of the instance's own, ready for Farshore. */
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
  /** When it is one of the instance's own. */
  readonly server?: KeptServer;
  readonly codecEndpoint?: string;
}

/** @param onRestart told where it is after a server of its own was started again. */
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

/** A server of the instance's own, whose Web UI shows what is encrypted. */
async function startTemporal(
  executable: string,
  { data, temporalPort, uiPort, onProgress }: TemporalOptions,
  keys: KeyRing | undefined,
  endings: (() => Promise<void>)[],
  onRestart: (temporal: TemporalPlace) => Promise<void>,
): Promise<FoundTemporal> {
  // The Web UI is told of the codec server at its start, and the codec server of the Web UI once that has a port.
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
