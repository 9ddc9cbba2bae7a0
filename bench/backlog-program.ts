/**
 * `backlog-program runs|at-once WRITES`: coalesces the given number of random small writes of one log, reads the result
 * twice, as a cycle does, and prints the time and the peak memory that this took.
 */
import { WriteIndex } from '../tracking/coalesce.js';
import { CoalescedWrites } from '../tracking/write-runs.js';

const [way, count] = [process.argv[2], Number(process.argv[3])];
const started = performance.now();
const writes = way === 'runs' ? new CoalescedWrites() : new WriteIndex();
for (let index = 0; index < count; index += 1) {
  // Spread over a disk of 64 GiB; some blocks are written twice.
  const block = Math.imul(index, 0x9e3779b1) >>> 8;
  writes.add({ kind: 'data', offset: block * 4096, length: 4096, position: 4096 + index * 4136 });
}
const ranges = writes.coalesce();
let found = 0;
let bytes = 0;
for (let time = 0; time < 2; time += 1) {
  for (const range of ranges) {
    found += 1;
    bytes += range.length;
  }
}
if (writes instanceof CoalescedWrites) writes.close();
console.log(
  JSON.stringify({
    seconds: (performance.now() - started) / 1000,
    // maxRSS is in KiB.
    peakMiB: process.resourceUsage().maxRSS / 1024,
    found,
    bytes,
  }),
);
