/** `verify`. */
import { Command } from 'commander';
import { counted } from '../../domain/counted.js';
import { formatBytes } from '../../domain/bytes.js';
import { verifyResultSchema, type Job, type VerifyResult } from '../../domain/job.js';
import { JobFailedError } from '../errors.js';
import { requireAllowed } from './failover.js';
import { followRequest } from './follow-request.js';
import { withFarshore } from './place.js';

const BLOCK_BYTES = 65_536;

export function verifyCommand(): Command {
  return new Command('verify')
    .summary('compare a replica with its source')
    .description(
      'Compares every block of a protected VM with its replica at one instant and changes neither. Takes a VM ' +
        'snapshot together with a replication cycle and compares digests while the VM keeps running. Needs space for ' +
        'the snapshot and the logs, because no cycles are sent meanwhile. With --wait, exits with 4 if anything ' +
        'differs; the VM is then Critical and marked for resynchronization.',
    )
    .argument('<vm>', 'name of the VM')
    .option('--wait', 'return once it is done, with the result')
    .addHelpText('after', '\nExample:\n  farshore verify db-01 --wait')
    .action(async (vm: string, options: { wait?: true }, command: Command) => {
      await withFarshore(command, async (farshore) => {
        await requireAllowed(farshore, vm, 'verifyReplica');
        let found: VerifyResult | undefined;
        await followRequest(
          'verify',
          vm,
          command,
          farshore,
          await farshore.startJob(vm, 'verifyReplica'),
          options,
          (job) => {
            found = verifyResultOf(job);
            return found ? verifyText(vm, found) : `${vm}: ${job.state}`;
          },
        );
        if (found?.equal === false) {
          throw new JobFailedError(
            `${vm}: the replica differs from its source\n  Remedy: farshore resynchronize ${vm} --now`,
          );
        }
      });
    });
}

/** Undefined if the job was not a verification or has no result. */
export function verifyResultOf({ kind, result }: Job): VerifyResult | undefined {
  return kind === 'verifyReplica' ? verifyResultSchema.safeParse(result).data : undefined;
}

export function verifyText(vm: string, found: VerifyResult): string {
  const { equal, sequence, at, blocks, differingBlocks, differingRanges, ranges } = found;
  const compared = `${vm}: compared ${counted(blocks, 'block')} (${formatBytes(blocks * BLOCK_BYTES)}) at cycle ${sequence}, ${at}`;
  if (equal) return `${compared}: equal`;
  const lines = ranges.map(({ disk, offset, length }) => `  ${disk}: ${length} bytes from ${offset}`);
  const more = differingRanges > ranges.length ? [`  and ${differingRanges - ranges.length} more`] : [];
  const told = `Differing blocks: ${differingBlocks}; differing byte ranges: ${differingRanges}`;
  return [`${compared}: ${told}`, ...lines, ...more].join('\n');
}
