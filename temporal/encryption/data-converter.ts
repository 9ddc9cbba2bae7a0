/** The one place where a data converter is made: every client and every worker of a site has to have the same. */
import { fileURLToPath } from 'node:url';
import type { DataConverter } from '@temporalio/common';
import { EncryptionCodec } from './codec.js';
import { configuredKeyFile } from './key-file.js';
import { KeyRing } from './key-ring.js';

/** As built. */
export const failureConverterPath = fileURLToPath(new URL('./failure-converter.js', import.meta.url));

/** @returns undefined when no key file is configured. @throws DocumentError when it is not in order. */
export async function configuredKeys(env?: NodeJS.ProcessEnv): Promise<KeyRing | undefined> {
  const file = configuredKeyFile(env);
  return file === undefined ? undefined : await KeyRing.open(file);
}

/** For clients, which report no failures of their own. */
export const clientDataConverter = (keys: KeyRing | undefined): DataConverter => ({
  payloadCodecs: [new EncryptionCodec(keys)],
});

/** For workers. With keys the workflows have to be bundled with {@link failureConverterPath}. */
export const workerDataConverter = (keys: KeyRing | undefined): DataConverter => ({
  ...clientDataConverter(keys),
  ...(keys && { failureConverterPath }),
});
