/**
 * A process's access to a container: with credentials from its environment, never from the site file. These are
 * `FARSHORE_STORE_CONNECTION_STRING` or `FARSHORE_STORE_SAS`, or a file with the value, named by the same variable with
 * `_FILE`. Without them, it uses the identity of the machine or person (`@azure/identity`: managed identity,
 * environment, `az login`).
 */
import { ContainerClient, StorageSharedKeyCredential } from '@azure/storage-blob';
import { CatalogueError } from '../../domain/errors.js';
import { accountUrlOf } from '../../domain/store-address.js';
import {
  checkSas,
  CONNECTION_STRING,
  copiedSas,
  givenSecret,
  partsOf,
  refused,
  SAS,
  type Environment,
  type Secret,
} from './credentials.js';

export interface ContainerAccess {
  /** A client with the current credentials; ask for it again for each request. */
  readonly client: ContainerClient;
  /** Reads the credentials again. Afterwards `client` is different if there are other usable credentials. */
  renew?(): void;
  /**
   * Why the service has refused the credentials, as far as they show it themselves.
   * @param at time of the refusal by the service's clock, ms since 1970.
   */
  whyRefused?(at: number): CatalogueError | undefined;
}

/** Retries are done in requests.ts: the client's own ignore Retry-After. */
const OPTIONS = { retryOptions: { maxTries: 1 } };

/**
 * @param url address of the container.
 * @returns `by`: where the credentials come from, for error messages.
 * @throws CatalogueError AuthenticationFailed, AuthorizationFailed.
 */
export async function containerAccess(
  url: string,
  environment: Environment,
): Promise<ContainerAccess & { readonly by: string }> {
  const secret = givenSecret(environment);
  if (secret) return new SecretAccess(url, environment, secret);
  if (!url.startsWith('https:')) {
    throw refused(
      `no credentials for ${url} (vault.store.url): set ${SAS} or ${CONNECTION_STRING}, or either with _FILE; the identity of this machine is used only over https`,
    );
  }
  const { DefaultAzureCredential } = await import('@azure/identity');
  const by = `the identity of this machine, as neither ${CONNECTION_STRING} nor ${SAS} is set`;
  return { client: new ContainerClient(url, new DefaultAzureCredential(), OPTIONS), by };
}

type GivenSecret = NonNullable<ReturnType<typeof givenSecret>>;

/** Access with a secret, which may be in a file that is replaced while the process runs. */
class SecretAccess implements ContainerAccess {
  readonly by: string;
  client: ContainerClient;
  #used: string;

  constructor(
    private readonly url: string,
    private readonly environment: Environment,
    secret: GivenSecret,
  ) {
    this.by = secret.from;
    this.#used = secret.value;
    this.client = clientBy(url, secret);
  }

  renew(): void {
    try {
      const secret = givenSecret(this.environment);
      if (!secret || secret.value === this.#used) return;
      this.client = clientBy(this.url, secret);
      this.#used = secret.value;
    } catch (error) {
      // A secret that is useless or half-written replaces nothing; `whyRefused` reports it.
      if (!(error instanceof CatalogueError)) throw error;
    }
  }

  whyRefused(at: number): CatalogueError | undefined {
    try {
      const secret = givenSecret(this.environment);
      if (secret) clientBy(this.url, secret, at);
      return undefined;
    } catch (error) {
      if (error instanceof CatalogueError) return error;
      throw error;
    }
  }
}

/** @param refusedAt see `checkSas`. */
function clientBy(url: string, secret: GivenSecret, refusedAt?: number): ContainerClient {
  if (!secret.isSas) return byConnectionString(url, secret, refusedAt);
  const { token, address } = copiedSas(secret.value);
  if (address !== undefined && ![url, accountUrlOf(url)].includes(address)) {
    throw refused(`${secret.from} holds a SAS of ${address}, but vault.store.url is ${url}: make them match`);
  }
  checkSas(token, secret, refusedAt);
  return new ContainerClient(`${url}?${token}`, undefined, OPTIONS);
}

function byConnectionString(url: string, secret: Secret, refusedAt?: number): ContainerClient {
  const { from, value } = secret;
  const parts = partsOf(value);
  const account = parts.get('AccountName');
  const key = parts.get('AccountKey');
  const signature = parts.get('SharedAccessSignature');
  const endpoint = endpointOf(parts);
  if (endpoint !== undefined && endpoint !== accountUrlOf(url)) {
    throw refused(
      `${from} belongs to the account ${endpoint}, but vault.store.url to ${accountUrlOf(url)}: make them match`,
    );
  }
  if (account !== undefined && key !== undefined) {
    return new ContainerClient(url, new StorageSharedKeyCredential(account, key), OPTIONS);
  }
  if (signature === undefined) {
    throw refused(`${from} has neither AccountName and AccountKey nor SharedAccessSignature: copy it completely`);
  }
  const { token } = copiedSas(signature);
  checkSas(token, secret, refusedAt);
  return new ContainerClient(`${url}?${token}`, undefined, OPTIONS);
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
