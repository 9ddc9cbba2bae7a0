/** SAS tokens of the emulator's account. */
import {
  StorageSharedKeyCredential,
  generateBlobSASQueryParameters,
  type BlobSASSignatureValues,
} from '@azure/storage-blob';

const DAY_MS = 24 * 60 * 60_000;

export const account = 'devstoreaccount1';
/** Everybody knows it. */
export const key = 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==';

/** @param url of the container. @param values its begin was two days ago unless they say otherwise. */
export function sasFor(url: string, values: Omit<BlobSASSignatureValues, 'containerName'>): string {
  const startsOn = values.identifier === undefined ? { startsOn: new Date(Date.now() - 2 * DAY_MS) } : {};
  return generateBlobSASQueryParameters(
    { ...startsOn, ...values, containerName: url.split('/').at(-1)! },
    new StorageSharedKeyCredential(account, key),
  ).toString();
}
