/** The live replica of a disk as a file, for programs of others; nothing of the replication engine is used here. */
import { mkdir, open } from 'node:fs/promises';
import path from 'node:path';
import { BlobServiceClient, type ContainerClient } from '@azure/storage-blob';
import { containerOf, type StoreAddress } from '../../domain/store-address.js';
import type { DemoDisk } from './demo-site.js';
import { replicaBlobName } from '../../sites/vhd-disks.js';

const READ_BYTES = 4 * 1024 * 1024;

/** @param folder of the demo: what lies in a storage account is fetched into it. */
export async function replicaFile(
  store: StoreAddress,
  disk: Pick<DemoDisk, 'vm' | 'name'>,
  folder: string,
): Promise<string> {
  const name = replicaBlobName(disk.vm, disk.name);
  if (store.kind === 'embedded') return path.join(store.path, name);
  const service = BlobServiceClient.fromConnectionString(process.env['FARSHORE_STORE_CONNECTION_STRING'] ?? '');
  return await fetchReplica(service.getContainerClient(containerOf(store.url)), disk, folder);
}

/** @returns the file, inside the folder, that the replica was fetched into. */
export async function fetchReplica(
  container: ContainerClient,
  { vm, name }: Pick<DemoDisk, 'vm' | 'name'>,
  folder: string,
): Promise<string> {
  const file = path.join(folder, 'replicas', `${vm}-${name}.vhd`);
  await mkdir(path.dirname(file), { recursive: true });
  await fetchPageBlob(container, replicaBlobName(vm, name), file);
  return file;
}

async function fetchPageBlob(container: ContainerClient, name: string, file: string): Promise<void> {
  // `os.vhd` lies in a blob of the name `os~<...>.vhd`.
  const prefix = `${name.slice(0, -path.extname(name).length)}~`;
  const found: string[] = [];
  for await (const blob of container.listBlobsFlat({ prefix })) found.push(blob.name);
  const [blob] = found;
  if (blob === undefined || found.length > 1) throw new Error(`${name}: ${found.length} blobs are there, 1 is wanted`);
  const client = container.getPageBlobClient(blob);
  const { contentLength: size = 0 } = await client.getProperties();
  const target = await open(file, 'w', 0o600);
  try {
    await target.truncate(size);
    for (let offset = 0; offset < size; offset += READ_BYTES) {
      const part = await client.downloadToBuffer(offset, Math.min(READ_BYTES, size - offset));
      await target.write(part, 0, part.length, offset);
    }
  } finally {
    await target.close();
  }
}
