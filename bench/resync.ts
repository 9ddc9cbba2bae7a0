/** A resynchronization of a disk, compared with rsync updating another copy of it in place. */
import { copyFile } from 'node:fs/promises';
import path from 'node:path';
import { formatBytes } from '../domain/bytes.js';
import type { CopyReport } from './copy-program.js';
import { required, type Bench, type Outcome } from './figures.js';
import { changeBlocks, createPartlyFilled, makeDurable } from './images.js';
import { measurePairs, spread } from './pairs.js';
import { missingProgram, run, runOurs, versionOf } from './programs.js';
import { withScratch } from './scratch.js';
import { replicaBlobName } from '../sites/vhd-disks.js';

const GiB = 2 ** 30;
const DISK_BYTES = 4 * GiB;
const BLOCK = 64 * 1024;
const CHANGED_SHARE = 0.01;
const TIME = 'resynchronization, rsync time / our time';
const SENT = 'resynchronization, block bytes sent / bytes of changed blocks';

export const resync: Bench = {
  name: 'resync',
  summary: 'a disk of 4 GiB of which 1 % of the blocks of 64 KiB have changed, against rsync',
  run: (say) => withScratch((folder) => measure(folder, say)),
};

async function measure(folder: string, say: (line: string) => void): Promise<Outcome[]> {
  const missing = missingProgram('rsync', 'qemu-img');
  if (missing !== undefined) return [TIME, SENT].map((name) => ({ name, missing }));
  const source = path.join(folder, 'source.raw');
  const store = path.join(folder, 'store');
  const target = path.join(folder, 'peer.raw');
  say(`making a disk of ${formatBytes(DISK_BYTES)}, and two replicas`);
  const dataBytes = await createPartlyFilled(source, DISK_BYTES, 0.5);
  let epoch = 1;
  await runOurs('bench/copy-program', 'initial', source, store, String(epoch));
  await copyFile(source, target);
  await makeDurable(target);

  let calls = 0;
  let changed = 0;
  const reports: (CopyReport & { changed: number })[] = [];
  /** Before the first of a pair, the changes that both will find are made. */
  const beforePair = async () => {
    if (calls % 2 === 0) {
      changed = await changeBlocks(source, { size: DISK_BYTES, block: BLOCK, share: CHANGED_SHARE, round: calls });
    }
    calls += 1;
  };
  const ours = async (): Promise<number> => {
    await beforePair();
    epoch += 1;
    const report = JSON.parse(
      await runOurs('bench/copy-program', 'resync', source, store, String(epoch)),
    ) as CopyReport;
    reports.push({ ...report, changed });
    return report.digestSeconds + report.copySeconds + report.verifySeconds;
  };
  const peer = async (): Promise<number> => {
    await beforePair();
    const started = performance.now();
    await run('rsync', '-I', '--inplace', '--no-whole-file', source, target);
    await makeDurable(target);
    return (performance.now() - started) / 1000;
  };
  const pairs = await measurePairs(ours, peer, say);
  // Both commands fail if anything differs.
  const replica = path.join(store, replicaBlobName('bench-01', 'os'));
  say((await run('qemu-img', 'compare', '-f', 'raw', '-F', 'vpc', source, replica)).trim());
  await run('cmp', source, target);

  const measured = reports.slice(1);
  const seconds = (of: (report: CopyReport) => number) => spread(measured.map(of), 's');
  return [
    {
      name: TIME,
      unit: 'ratio',
      samples: pairs.map((pair) => pair.peer / pair.ours),
      targets: [required('at least', 1)],
      details: [
        `${formatBytes(DISK_BYTES)} with ${formatBytes(dataBytes)} of data and more in each round; both equal to their source`,
        `ours ${spread(
          pairs.map((pair) => pair.ours),
          's',
        )}: until all is digested ${seconds((report) => report.digestSeconds)}, comparing and sending the rest ${seconds((report) => report.copySeconds)}, reading back ${seconds((report) => report.verifySeconds)}`,
        `peer ${spread(
          pairs.map((pair) => pair.peer),
          's',
        )}: ${versionOf('rsync')}, -I --inplace --no-whole-file and fsync`,
      ],
    },
    {
      name: SENT,
      unit: 'ratio',
      samples: measured.map((report) => report.sentBytes / report.changed),
      targets: [required('at most', 1.05)],
      details: [
        `${formatBytes(measured[0]!.changed)} changed in each round; digests besides ${formatBytes(measured[0]!.digestBytes)}`,
      ],
    },
  ];
}
