/** The blob that distinguishes a store from a container with other content, or one that was emptied. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { CatalogueError } from '../../domain/errors.js';
import { MARKER } from '../blob-names.js';
import type { Container } from './container.js';
import type { ContainerAccess } from './container-access.js';

const markerSchema = z.object({
  format: z.literal('farshore replica store'),
  version: z.literal(1),
  id: z.uuid(),
});

/** @returns the store's id. @throws CatalogueError if there is no store, or none can be created. */
export async function openMarker(
  access: ContainerAccess,
  container: Container,
  { where, create = false }: { readonly where: string; readonly create?: boolean },
): Promise<string> {
  const found = await container.get(MARKER).catch(async (error: unknown) => {
    if (!create || !(error instanceof CatalogueError) || error.code !== 'StoreNotFound') throw error;
    await container.requests.do('creating the container', (abortSignal) =>
      access.client.createIfNotExists({ abortSignal }),
    );
    return undefined;
  });
  if (found && found !== 'unchanged') {
    return idOf(found.data, where);
  }
  if (!create) throw new CatalogueError('StoreNotFound', `${where}: the container exists but holds no store`);
  await refuseForeign(container, where);
  await refuseUnsuitable(access, container, where);
  const marker: z.infer<typeof markerSchema> = { format: 'farshore replica store', version: 1, id: randomUUID() };
  const { etag: made } = await container.put(MARKER, Buffer.from(`${JSON.stringify(marker)}\n`), 'nothing');
  return made === undefined ? await openMarker(access, container, { where }) : marker.id;
}

function idOf(content: Buffer, where: string): string {
  try {
    return markerSchema.parse(JSON.parse(content.toString())).id;
  } catch (error) {
    throw new CatalogueError(
      'InvalidReplicaState',
      `${where}: ${MARKER} belongs to a store that this version cannot read`,
      {
        cause: error,
      },
    );
  }
}

/** Refuses to create a store in a container with other content. */
async function refuseForeign(container: Container, where: string): Promise<void> {
  for await (const { name } of container.list('', { snapshots: false })) {
    if (name === MARKER) return;
    throw new CatalogueError('StoreNotFound', `${where}: the container is not a store, and holds ${name}`);
  }
}

/** Kinds of account that support page blobs and block blobs. */
const SUITABLE = ['StorageV2', 'Storage'];

async function refuseUnsuitable(access: ContainerAccess, container: Container, where: string): Promise<void> {
  const { accountKind, skuName, isHierarchicalNamespaceEnabled } = await container.requests.do(
    'asking what kind of account it is',
    (abortSignal) => access.client.getAccountInfo({ abortSignal }),
  );
  if (accountKind === undefined || (SUITABLE.includes(accountKind) && !isHierarchicalNamespaceEnabled)) return;
  const kind = `${accountKind}, ${skuName}${isHierarchicalNamespaceEnabled ? ', with a hierarchical namespace' : ''}`;
  throw new CatalogueError('StoreUnsuitable', `${where}: the account has the kind ${kind}`);
}
