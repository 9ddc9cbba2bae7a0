/**
 * The peer of a copy to a storage account: `upload-program SOURCE URL`. Reads the data of a disk into memory, then
 * uploads it as pages with the client library alone, eight requests at a time. Prints how long the uploads took.
 */
import { RawDisk } from '../disks/raw.js';
import { splitRange } from '../domain/ranges.js';
import { containerAccess } from '../sites/azure-store/container-access.js';

/** The largest possible request, bytes. */
const REQUEST_BYTES = 4 * 1024 * 1024;
const IN_FLIGHT = 8;

async function main(sourceFile: string, url: string): Promise<{ seconds: number }> {
  const source = await RawDisk.open(sourceFile, { readOnly: true });
  const { size } = source;
  const pieces: { readonly offset: number; readonly data: Buffer }[] = [];
  for (const range of await source.dataRanges({ offset: 0, length: size })) {
    for (const { offset, length } of splitRange(range, REQUEST_BYTES)) {
      const data = Buffer.alloc(length);
      await source.read(data, offset);
      pieces.push({ offset, data });
    }
  }
  await source.close();
  const { client } = await containerAccess(url, process.env);
  await client.createIfNotExists();
  const blob = client.getPageBlobClient('peer.vhd');
  const started = performance.now();
  await blob.create(size);
  const queue = pieces.values();
  const lane = async () => {
    for (const { offset, data } of queue) await blob.uploadPages(data, offset, data.length);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  return { seconds: (performance.now() - started) / 1000 };
}

const [source, url] = process.argv.slice(2) as [string, string];
process.stdout.write(`${JSON.stringify(await main(source, url))}\n`);
