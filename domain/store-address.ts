/** The place of a vault's replica store: a folder, or a container of a storage account. Never includes credentials. */
import { z } from 'zod';

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;
/** Host names that name an account themselves, in any of Azure's clouds. */
const ACCOUNT_HOST = /^[a-z0-9-]+(\.z\d+)?\.blob\./;
/** Names that Azure accepts for a container. */
const CONTAINER = /^(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*$/;

export const storeAddressSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('embedded').describe('A local or mounted folder.'),
    path: z.string().min(1).describe('Folder of the store, relative to the site file.'),
  }),
  z.strictObject({
    kind: z.literal('azure').describe('A container of a storage account. Credentials are taken from the environment.'),
    url: z
      .string()
      .superRefine((url, context) => {
        const problem = urlProblem(url);
        if (problem !== undefined) context.addIssue({ code: 'custom', message: problem });
      })
      .describe('Address of the container: https://ACCOUNT.blob.core.windows.net/CONTAINER'),
  }),
]);
export type StoreAddress = z.infer<typeof storeAddressSchema>;

/** For display. Contains nothing but the address. */
export const formatStoreAddress = (store: StoreAddress): string => (store.kind === 'embedded' ? store.path : store.url);

/** @returns the container's name, the last part of its address. */
export const containerOf = (url: string): string => new URL(url).pathname.split('/').at(-1)!;

/** @returns the address of the account, without the container. */
export const accountUrlOf = (url: string): string => url.slice(0, url.length - containerOf(url).length - 1);

function urlProblem(text: string): string | undefined {
  if (!URL.canParse(text))
    return 'expected the address of a container: https://ACCOUNT.blob.core.windows.net/CONTAINER';
  const { protocol, hostname, search, hash, username, pathname } = new URL(text);
  // The message does not repeat the text, because the text may contain a signature.
  if (search !== '' || hash !== '' || username !== '') {
    return 'the site file must not contain credentials: put the SAS into FARSHORE_STORE_SAS, and only the address up to the container here';
  }
  if (protocol !== 'https:' && !(protocol === 'http:' && LOOPBACK.test(hostname))) {
    return 'use https; http is allowed only for addresses of this machine';
  }
  const parts = pathname.split('/').slice(1);
  if (CONTAINER.test(parts.at(-1)!)) return placeProblem(hostname, parts);
  return 'the address must end with the name of a container: 3 to 63 lower-case letters, digits and single hyphens';
}

/** An Azure host name names the account; for any other host, the path may name it. */
function placeProblem(hostname: string, parts: readonly string[]): string | undefined {
  if (ACCOUNT_HOST.test(hostname)) {
    if (parts.length === 1) return undefined;
    return 'the path must be only the name of a container: https://ACCOUNT.blob.core.windows.net/CONTAINER';
  }
  if (parts.length <= 2 && !parts.includes('')) return undefined;
  return 'the path must be CONTAINER, or ACCOUNT/CONTAINER if the host does not name the account';
}
