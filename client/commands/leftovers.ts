/** `leftovers`. */
import { Command } from 'commander';
import { formatBytes } from '../../domain/bytes.js';
import { counted } from '../../domain/counted.js';
import { formatSeconds, secondsBetween, toIso } from '../../domain/time.js';
import type { FoundLeftovers, KeptThing, Leftover } from '../../local/leftovers.js';
import { RefusedError } from '../errors.js';
import { note, table } from '../output.js';
import { confirm } from './confirm.js';
import { outputOf, withFarshore } from './place.js';
import { waitingForStore } from './store-patience.js';

interface LeftoversOptions {
  readonly remove?: readonly string[];
  readonly removeAll?: true;
  readonly yes?: true;
}

export function leftoversCommand(): Command {
  return new Command('leftovers')
    .summary('list what no VM needs any more, and remove it')
    .description(
      'Lists what the store, the recovery site and the hosts hold although no VM of the vault needs it: for example a ' +
        'test VM without a test failover, or the change sets of a failback that is over. Normally there is none: jobs ' +
        'clean up after themselves. Replicas and replica VMs that were kept when protection ended are listed apart, and ' +
        'are not removed. Looks through the store, and through the hypervisors and the recovery compute of this machine.',
    )
    .option('--remove <id...>', 'remove these; each is looked at again first, and kept if it is in use')
    .option('--remove-all', 'remove all of them; what is kept on purpose stays')
    .option('--yes', 'do not ask for confirmation')
    .addHelpText('after', '\nExample:\n  farshore leftovers --remove store/db-01/change-sets')
    .action(async ({ remove, removeAll, yes }: LeftoversOptions, command: Command) => {
      if (remove && removeAll) throw new RefusedError('--remove-all removes all of them: leave out --remove');
      await withFarshore(command, async (farshore, { data, site: { site } }) => {
        const before = await waitingForStore(site.vault.store, farshore.leftovers(data.path));
        const wanted = wantedOf(before, remove, removeAll);
        const removed: string[] = [];
        const notRemoved: { id: string; reason: string }[] = [];
        if (wanted.length > 0) {
          await confirm(['This removes for good:', ...wanted.map((one) => `  ${lineOf(one)}`)].join('\n'), yes);
          for (const { id } of wanted) {
            try {
              await farshore.removeLeftover(id, data.path);
              removed.push(id);
            } catch (error) {
              if (!(error instanceof RefusedError)) throw error;
              notRemoved.push({ id, reason: error.message });
              note(`Not removed: ${error.message}`);
            }
          }
        }
        const found = wanted.length > 0 ? await farshore.leftovers(data.path) : before;
        const value = {
          leftovers: found.leftovers.map(leftoverValue),
          kept: found.kept.map(keptValue),
          unknown: found.unknown,
          removed,
          notRemoved,
        };
        const done = removed.map((id) => `Removed: ${id}\n`).join('');
        outputOf(command).result('leftovers', value, `${done}${textOf(found, toIso(Date.now()))}`);
        if (notRemoved.length > 0)
          throw new RefusedError(`${counted(notRemoved.length, 'leftover')} not removed; see above`);
      });
    });
}

function wantedOf(
  { leftovers, kept }: FoundLeftovers,
  remove: readonly string[] | undefined,
  removeAll: true | undefined,
): readonly Leftover[] {
  if (removeAll) return leftovers;
  return [...new Set(remove ?? [])].map((id) => {
    const found = leftovers.find((one) => one.id === id);
    if (found) return found;
    const keptThing = kept.find((one) => one.id === id);
    if (keptThing) throw new RefusedError(`${id} is kept on purpose: ${keptThing.reason}${commandText(keptThing)}`);
    const known = leftovers.map((one) => one.id).join(', ');
    throw new RefusedError(
      `there is no leftover ${id}, or a VM needs it; ${known === '' ? 'nothing is left' : `there are: ${known}`}`,
    );
  });
}

const sharedValue = ({ id, where, kind, vm, name, bytes, since, epoch, reason }: Leftover | KeptThing) => ({
  ...{ id, where, kind, vm, name, bytes, since, epoch, reason },
});
const leftoverValue = (leftover: Leftover) => ({ ...sharedValue(leftover), cleansItself: leftover.cleansItself });
const keptValue = (kept: KeptThing) => ({ ...sharedValue(kept), command: kept.command });

const lineOf = ({ id, text, vm, bytes }: Leftover): string =>
  `${id}: ${text} of ${vm}${bytes === undefined ? '' : `, ${formatBytes(bytes)}`}`;

const commandText = ({ command }: KeptThing): string => (command === undefined ? '' : `; to remove it: ${command}`);

/** @param now ISO 8601. */
export function textOf({ leftovers, kept, unknown }: FoundLeftovers, now: string): string {
  const parts = [leftovers.length === 0 ? 'Nothing is left behind.' : leftoverTable(leftovers, now)];
  if (leftovers.length > 0)
    parts.push('Remove one with: farshore leftovers --remove ID; all of them with: farshore leftovers --remove-all');
  if (kept.length > 0) {
    const rows = kept.map((one) => [
      ...cellsOf(one, now),
      `${one.reason}${one.command === undefined ? '' : `; ${one.command}`}`,
    ]);
    parts.push(`Kept on purpose:\n${table(['WHERE', 'VM', 'WHAT', 'SIZE', 'AGE', 'WHY'], rows)}`);
  }
  if (unknown.length > 0)
    parts.push(
      `Not looked through, because it does not answer here: ${unknown.join(', ')}. Run this command there too.`,
    );
  return parts.join('\n\n');
}

function leftoverTable(leftovers: readonly Leftover[], now: string): string {
  const rows = leftovers.map((one) => [
    ...cellsOf(one, now),
    one.reason,
    one.cleansItself === undefined ? 'stays until removed' : `cleans itself up ${one.cleansItself}`,
    one.id,
  ]);
  return table(['WHERE', 'VM', 'WHAT', 'SIZE', 'AGE', 'WHY IT IS LEFT', 'HOW IT GOES', 'ID'], rows);
}

const cellsOf = ({ where, vm, text, bytes, since }: Leftover | KeptThing, now: string): string[] => [
  ...[where, vm, text],
  bytes === undefined ? '-' : formatBytes(bytes),
  since === undefined ? '-' : formatSeconds(secondsBetween(since, now)),
];
