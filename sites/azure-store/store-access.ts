/** Opens the store in a storage account. */
import { MARKER } from '../blob-names.js';
import { containerAccess } from './container-access.js';
import type { Environment } from './credentials.js';
import { AzureReplicaStore, type OpenOptions } from './replica-store.js';
import { Requests } from './requests.js';

/** @param url address of the container. @throws CatalogueError AuthenticationFailed and those of `AzureReplicaStore.open`. */
export async function openAzureStore(
  url: string,
  options: Omit<OpenOptions, 'where'> = {},
  environment: Environment = process.env,
): Promise<AzureReplicaStore> {
  const access = await containerAccess(url, environment);
  return await AzureReplicaStore.open(access, { ...options, where: whereOf(url, access.by) });
}

/** @returns the current time by the service's clock, ms since 1970. @throws CatalogueError */
export async function serviceTime(url: string, environment: Environment = process.env): Promise<number> {
  const access = await containerAccess(url, environment);
  const requests = new Requests(access, whereOf(url, access.by));
  // A request that every SAS for the container permits.
  const { date } = await requests.do('asking for the time', (abortSignal) =>
    access.client.getBlobClient(MARKER).download(0, 1, { abortSignal }),
  );
  return date?.getTime() ?? Number.NaN;
}

/** Name of the store in error messages. */
const whereOf = (url: string, by: string): string => `${url} (vault.store.url; credentials: ${by})`;
