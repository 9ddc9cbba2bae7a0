/**
 * How a process gets at a storage account: by what its environment holds, never by the site file.
 * `FARSHORE_STORE_CONNECTION_STRING` or `FARSHORE_STORE_SAS`, or a file that holds it, named by the same with `_FILE`; with
 * neither, the identity that the machine or the person has (`@azure/identity`: managed identity, environment, `az login`).
 */
import { ContainerClient, StorageSharedKeyCredential } from '@azure/storage-blob';
import { accountUrlOf } from '../../domain/store-address.js';
import { checkSas, CONNECTION_STRING, partsOf, refused, SAS, secretOf, type Environment } from './credentials.js';
import { MARKER } from '../blob-names.js';
import { AzureReplicaStore, type OpenOptions } from './replica-store.js';
import { Requests } from './requests.js';

/** @param url address of the container. @throws CatalogueError AuthenticationFailed and those of `AzureReplicaStore.open`. */
export async function openAzureStore(
  url: string,
  options: Omit<OpenOptions, 'where'> = {},
  environment: Environment = process.env,
): Promise<AzureReplicaStore> {
  const { client, by } = await containerClient(url, environment);
  return await AzureReplicaStore.open(client, { ...options, where: whereOf(url, by) });
}

/** @returns what time it is by the service's clock, ms since 1970. @throws CatalogueError */
export async function serviceTime(url: string, environment: Environment = process.env): Promise<number> {
  const { client, by } = await containerClient(url, environment);
  const requests = new Requests(whereOf(url, by));
  // What every SAS for the container may do.
  const { date } = await requests.do('asking for the time', (abortSignal) =>
    client.getBlobClient(MARKER).download(0, 1, { abortSignal }),
  );
  return date?.getTime() ?? Number.NaN;
}

/** The store, as error messages call it. */
const whereOf = (url: string, by: string): string => `${url} (vault.store.url; credentials: ${by})`;

/** @returns `by`: where the credentials come from, for error messages. */
export async function containerClient(
  url: string,
  environment: Environment,
): Promise<{ client: ContainerClient; by: string }> {
  const connectionString = secretOf(CONNECTION_STRING, environment);
  const sas = secretOf(SAS, environment);
  if (connectionString && sas) {
    throw refused(`${connectionString.from} and ${sas.from} are both given: give one of them`);
  }
  // Retries are our own (requests.ts): the client's know nothing of Retry-After.
  const options = { retryOptions: { maxTries: 1 } };
  if (connectionString) {
    const { from, value } = connectionString;
    return { client: byConnectionString(url, value, from, options), by: from };
  }
  if (sas) {
    const token = sas.value.replace(/^\?/, '');
    checkSas(token, sas.from);
    return { client: new ContainerClient(`${url}?${token}`, undefined, options), by: sas.from };
  }
  if (!url.startsWith('https:')) {
    throw refused(
      `no credentials for ${url} (vault.store.url): set ${SAS} or ${CONNECTION_STRING}, or either with _FILE; the identity of this machine is asked for over https alone`,
    );
  }
  const { DefaultAzureCredential } = await import('@azure/identity');
  const by = `the identity of this machine, as neither ${CONNECTION_STRING} nor ${SAS} is set`;
  return { client: new ContainerClient(url, new DefaultAzureCredential(), options), by };
}

function byConnectionString(
  url: string,
  text: string,
  from: string,
  options: { retryOptions: { maxTries: number } },
): ContainerClient {
  const parts = partsOf(text);
  const account = parts.get('AccountName');
  const key = parts.get('AccountKey');
  const signature = parts.get('SharedAccessSignature');
  const endpoint = endpointOf(parts);
  if (endpoint !== undefined && endpoint !== accountUrlOf(url)) {
    throw refused(
      `${from} is of the account ${endpoint}, and vault.store.url of ${accountUrlOf(url)}: make them the same`,
    );
  }
  if (account !== undefined && key !== undefined) {
    return new ContainerClient(url, new StorageSharedKeyCredential(account, key), options);
  }
  if (signature === undefined) {
    throw refused(`${from} has neither AccountName and AccountKey nor SharedAccessSignature: copy it whole`);
  }
  checkSas(signature, from);
  return new ContainerClient(`${url}?${signature}`, undefined, options);
}

/** Address of the account, without a slash at its end. */
function endpointOf(parts: ReadonlyMap<string, string>): string | undefined {
  const given = parts.get('BlobEndpoint');
  if (given !== undefined) return given.replace(/\/$/, '');
  const account = parts.get('AccountName');
  if (account === undefined) return undefined;
  const protocol = parts.get('DefaultEndpointsProtocol') ?? 'https';
  return `${protocol}://${account}.blob.${parts.get('EndpointSuffix') ?? 'core.windows.net'}`;
}
