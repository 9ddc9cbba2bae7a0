/** The initial copy of a disk to a storage account, compared with plain uploads of the same ranges from memory. */
import path from 'node:path';
import { Azurite } from '../client/demo/azurite.js';
import { replicaFile } from '../client/demo/replica-file.js';
import { formatBytes } from '../domain/bytes.js';
import type { CopyReport } from './copy-program.js';
import { required, type Bench, type Outcome } from './figures.js';
import { createPartlyFilled } from './images.js';
import { measurePairs, spread } from './pairs.js';
import { missingProgram, run, runOurs } from './programs.js';
import { withScratch } from './scratch.js';

const GiB = 2 ** 30;
const DISK_BYTES = GiB;
const COPIED = 'initial copy to Azurite, bare upload time / our time';

export const azureCopy: Bench = {
  name: 'azure-copy',
  summary: 'a half-empty disk of 1 GiB to a replica in Azurite, against bare uploads from memory',
  run: (say) => withScratch((folder) => measure(folder, say)),
};

async function measure(folder: string, say: (line: string) => void): Promise<Outcome[]> {
  const source = path.join(folder, 'source.raw');
  say(`making a disk of ${formatBytes(DISK_BYTES)}`);
  const dataBytes = await createPartlyFilled(source, DISK_BYTES, 0.5);
  let compared = false;

  /** Each run has its own emulator, empty and in memory. */
  const withContainer = async <T>(work: (url: string) => Promise<T>): Promise<T> => {
    const azurite = await Azurite.start();
    process.env['FARSHORE_STORE_CONNECTION_STRING'] = azurite.connectionString();
    try {
      return await work(`${azurite.url}/bench`);
    } finally {
      await azurite.stop();
    }
  };
  const ours = () =>
    withContainer(async (url) => {
      const report = JSON.parse(await runOurs('bench/copy-program', 'initial', source, url, '1')) as CopyReport;
      if (!compared && missingProgram('qemu-img') === undefined) {
        const replica = await replicaFile({ kind: 'azure', url }, { vm: 'bench-01', name: 'os' }, folder);
        // Fails if they differ.
        say((await run('qemu-img', 'compare', '-f', 'raw', '-F', 'vpc', source, replica)).trim());
        compared = true;
      }
      return report.digestSeconds + report.copySeconds;
    });
  const peer = () =>
    withContainer(
      async (url) => (JSON.parse(await runOurs('bench/upload-program', source, url)) as { seconds: number }).seconds,
    );

  const pairs = await measurePairs(ours, peer, say);
  return [
    {
      name: COPIED,
      unit: 'ratio',
      samples: pairs.map((pair) => pair.peer / pair.ours),
      targets: [required('at least', 0.5)],
      details: [
        `${formatBytes(DISK_BYTES)} with ${formatBytes(dataBytes)} of data${compared ? '; replica equal to its source by qemu-img compare' : ''}`,
        `ours ${spread(
          pairs.map((pair) => pair.ours),
          's',
        )}`,
        `peer ${spread(
          pairs.map((pair) => pair.peer),
          's',
        )}: uploadPages, eight at a time`,
      ],
    },
  ];
}
