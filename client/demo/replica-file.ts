/** The live replica of a disk as a file that independent programs can read. Uses no part of the replication engine. */
import { mkdir, open } from 'node:fs/promises';
import path from 'node:path';
import { BlobServiceClient, type ContainerClient } from '@azure/storage-blob';
import { containerOf, type StoreAddress } from '../../domain/store-address.js';
import type { DemoDisk } from './demo-site.js';
import { replicaBlobName } from '../../sites/vhd-disks.js';

const READ_BYTES = 4 * 1024 * 1024;

/** @param folder the demo's folder, into which replicas in a storage account are downloaded. */
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

/** @returns the file in the folder into which the replica was downloaded. */
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
  const client = container.getPageBlobClient(await liveBlob(container, name));
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

/**
 * `os.vhd` is in a blob with the name `os~<...>.vhd`. A process that was killed while creating it may have left another
 * such blob, which stays for a day; that one has a lower sequence number, because it was never written to.
 */
async function liveBlob(container: ContainerClient, name: string): Promise<string> {
  const found: { name: string; sequence: number }[] = [];
  const prefix = `${name.slice(0, -path.extname(name).length)}~`;
  for await (const blob of container.listBlobsFlat({ prefix })) {
    found.push({ name: blob.name, sequence: blob.properties.blobSequenceNumber ?? 0 });
  }
  const [newest, next] = found.toSorted((a, b) => b.sequence - a.sequence);
  if (newest === undefined || newest.sequence === next?.sequence) {
    throw new Error(`${name}: ${found.length} matching blobs, so it is unclear which one is live`);
  }
  return newest.name;
}
