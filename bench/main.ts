/**
 * `npm run bench [-- NAME...] [--json] [--strict]`: measures Farshore against independent programs, in pairs. Exits
 * with 1 if a required target is missed, and with `--strict` also if a figure could not be measured.
 */
import { parseArgs } from 'node:util';
import { backlog } from './backlog.js';
import { cutOffCycle } from './cut-off-cycle.js';
import { encryption } from './encryption.js';
import { isGood, isSkipped, type Outcome } from './figures.js';
import { guestWrites } from './guest-writes.js';
import { initialCopy } from './initial-copy.js';
import { memory, memoryRandom } from './memory.js';
import { azureCopy } from './azure-copy.js';
import { points } from './points.js';
import { describe, summarize } from './report.js';
import { resync } from './resync.js';
import { scale } from './scale.js';
import { sliceCatalog } from './slice-catalog.js';
import { snapshot } from './snapshot.js';

const benches = [
  ...[initialCopy, azureCopy, resync, guestWrites, snapshot, memory, memoryRandom, encryption],
  ...[sliceCatalog, points, backlog, cutOffCycle, scale],
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean' }, strict: { type: 'boolean' } },
});
const unknown = positionals.find((name) => !benches.some((bench) => bench.name === name));
if (unknown !== undefined) {
  console.error(`There is no bench ${unknown}. There are:`);
  for (const { name, summary } of benches) console.error(`  ${name.padEnd(14)}${summary}`);
  process.exit(2);
}
// The exit handlers stop started processes and remove files.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

const outcomes: Outcome[] = [];
for (const bench of benches) {
  if (positionals.length > 0 ? !positionals.includes(bench.name) : bench.onlyWhenNamed) continue;
  console.error(`${bench.name}: ${bench.summary}`);
  const found = await bench.run((line) => console.error(`  ${line}`));
  for (const outcome of found) console.log(describe(outcome));
  outcomes.push(...found);
}
if (values.json) console.log(JSON.stringify(summarize(outcomes)));
if (!outcomes.every(isGood) || (values.strict && outcomes.some(isSkipped))) process.exitCode = 1;
