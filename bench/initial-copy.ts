/** The initial copy of a disk, compared with qemu-img converting the same image to a file of the same format. */
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { formatBytes } from '../domain/bytes.js';
import type { CopyReport } from './copy-program.js';
import { aimed, required, type Bench, type Outcome } from './figures.js';
import { createPartlyFilled, makeDurable } from './images.js';
import { measurePairs, spread } from './pairs.js';
import { missingProgram, run, runOurs, versionOf } from './programs.js';
import { withScratch } from './scratch.js';
import { replicaBlobName } from '../sites/vhd-disks.js';

const GiB = 2 ** 30;
const DISK_BYTES = 4 * GiB;
const COPIED = 'initial copy, hashed and durable, qemu-img time / our time';
const READ_BACK = 'initial copy, read back from the disk besides, qemu-img time / our time';

export const initialCopy: Bench = {
  name: 'initial-copy',
  summary: 'a half-empty disk of 4 GiB to a verified replica, against qemu-img convert',
  run: (say) => withScratch((folder) => measure(folder, say)),
};

async function measure(folder: string, say: (line: string) => void): Promise<Outcome[]> {
  const missing = missingProgram('qemu-img');
  if (missing !== undefined) return [COPIED, READ_BACK].map((name) => ({ name, missing }));
  const source = path.join(folder, 'source.raw');
  say(`making a disk of ${formatBytes(DISK_BYTES)}`);
  const dataBytes = await createPartlyFilled(source, DISK_BYTES, 0.5);
  const times: CopyReport[] = [];
  let compared = false;

  const ours = async (): Promise<number> => {
    const store = path.join(folder, 'store');
    const time = JSON.parse(await runOurs('bench/copy-program', 'initial', source, store, '1')) as CopyReport;
    times.push(time);
    if (!compared) {
      const replica = path.join(store, replicaBlobName('bench-01', 'os'));
      // Fails if they differ.
      say((await run('qemu-img', 'compare', '-f', 'raw', '-F', 'vpc', source, replica)).trim());
      compared = true;
    }
    await rm(store, { recursive: true });
    return time.digestSeconds + time.copySeconds + time.verifySeconds;
  };
  const peer = async (): Promise<number> => {
    const target = path.join(folder, 'peer.vhd');
    const started = performance.now();
    await run('qemu-img', 'convert', '-f', 'raw', '-O', 'vpc', '-o', 'subformat=fixed,force_size=on', source, target);
    await makeDurable(target);
    const seconds = (performance.now() - started) / 1000;
    await rm(target);
    return seconds;
  };

  const pairs = await measurePairs(ours, peer, say);
  const measured = times.slice(1);
  const peerSeconds = pairs.map((pair) => pair.peer);
  const copySeconds = measured.map((time) => time.digestSeconds + time.copySeconds);
  return [
    {
      name: COPIED,
      unit: 'ratio',
      samples: peerSeconds.map((seconds, index) => seconds / copySeconds[index]!),
      targets: [required('at least', 0.5)],
      details: [
        `${formatBytes(DISK_BYTES)} with ${formatBytes(dataBytes)} of data; replica equal to its source by qemu-img compare`,
        `ours ${spread(copySeconds, 's')}`,
        `peer ${spread(peerSeconds, 's')}: ${versionOf('qemu-img')}, convert and fsync`,
      ],
    },
    {
      name: READ_BACK,
      unit: 'ratio',
      samples: pairs.map((pair) => pair.peer / pair.ours),
      targets: [aimed('at least', 0.5)],
      details: [
        `ours ${spread(
          pairs.map((pair) => pair.ours),
          's',
        )}, of it reading back ${spread(
          measured.map((time) => time.verifySeconds),
          's',
        )}; the peer reads nothing back`,
      ],
    },
  ];
}
