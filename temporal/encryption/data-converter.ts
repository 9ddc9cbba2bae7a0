/** The only place where data converters are created: all clients and workers of a site need the same one. */
import { fileURLToPath } from 'node:url';
import type { DataConverter } from '@temporalio/common';
import { EncryptionCodec } from './codec.js';
import { configuredKeyFile } from './key-file.js';
import { KeyRing } from './key-ring.js';

/** Path of the built file. */
export const failureConverterPath = fileURLToPath(new URL('./failure-converter.js', import.meta.url));

/** @returns undefined if no key file is configured. @throws DocumentError if it is invalid. */
export async function configuredKeys(env?: NodeJS.ProcessEnv): Promise<KeyRing | undefined> {
  const file = configuredKeyFile(env);
  return file === undefined ? undefined : await KeyRing.open(file);
}

/** For clients, which report no failures of their own. */
export const clientDataConverter = (keys: KeyRing | undefined): DataConverter => ({
  payloadCodecs: [new EncryptionCodec(keys)],
});

/** For workers. With keys, workflows must be bundled with {@link failureConverterPath}. */
export const workerDataConverter = (keys: KeyRing | undefined): DataConverter => ({
  ...clientDataConverter(keys),
  ...(keys && { failureConverterPath }),
});
