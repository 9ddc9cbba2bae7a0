/** Memory for coalescing a large backlog of small writes: in runs, compared with all at once. */
import { required, type Bench, type Outcome } from './figures.js';
import { growthSizes } from './growth-sizes.js';
import { runOurs } from './programs.js';

interface Report {
  readonly seconds: number;
  readonly peakMiB: number;
  readonly found: number;
  readonly bytes: number;
}

export const backlog: Bench = {
  name: 'backlog',
  summary: 'peak memory of coalescing 20,000,000 random 4 KiB writes of one log: in runs, against all at once',
  run: measure,
};

async function measure(say: (line: string) => void): Promise<Outcome[]> {
  const writes = growthSizes.writes();
  const report = async (way: 'runs' | 'at-once'): Promise<Report> => {
    const found = JSON.parse(await runOurs('bench/backlog-program', way, `${writes}`)) as Report;
    say(`${way}: ${found.peakMiB.toFixed(0)} MiB at most, ${found.seconds.toFixed(1)} s`);
    return found;
  };
  const ours = await report('runs');
  const peer = await report('at-once');
  if (ours.found !== peer.found || ours.bytes !== peer.bytes) throw new Error('the two ways do not tell the same');
  return [
    {
      name: `coalescing ${writes} random writes, peak memory of the process`,
      unit: 'MiB',
      samples: [ours.peakMiB],
      targets: [required('at most', 300)],
      details: [`in runs ${ours.seconds.toFixed(1)} s`],
    },
    {
      name: `coalescing ${writes} random writes, peak memory all at once / in runs`,
      unit: 'ratio',
      samples: [peer.peakMiB / ours.peakMiB],
      targets: [required('at least', writes >= 10_000_000 ? 3 : 1)],
      details: [`all at once ${peer.peakMiB.toFixed(0)} MiB, ${peer.seconds.toFixed(1)} s`],
    },
  ];
}
