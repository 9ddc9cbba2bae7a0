/** `unprotect`. */
import { Command } from 'commander';
import { counted } from '../../domain/counted.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import type { LocalSite } from '../../local/local-site.js';
import { RefusedError } from '../errors.js';
import { confirmAgainst, type Objection } from './confirm.js';
import type { DestructiveOptions } from './follow-request.js';
import { withFarshore } from './place.js';
import { answersText, hostSigns } from './primary-side.js';
import { askAll, followAll, toStart } from './several-vms.js';
import { unlessItHangs } from './store-patience.js';

interface UnprotectOptions extends DestructiveOptions {
  readonly keepReplica?: true;
  readonly primaryLost?: true;
  readonly force?: true;
}

export function unprotectCommand(): Command {
  return new Command('unprotect')
    .summary('end the protection of VMs')
    .description(
      'Disables protection: stops tracking changes and deletes the replica with all recovery points. Does not ' +
        'touch the VM itself. After a committed failover it only ends the protection: the replica VM keeps running ' +
        'on its disks, and tracking of the source stops automatically. Lists everything it deletes and ' +
        'keeps, and asks for confirmation. If the primary site is down, the job waits for it and can be cancelled; ' +
        "--primary-lost skips it. If the host answers, --primary-lost makes you type the VM's name, or needs " +
        '--force with --yes, because the host would keep tracking changes for nothing.',
    )
    .argument('<vm...>', 'names of VMs')
    .option('--keep-replica', 'keep the replica and its recovery points until the VM is protected again')
    .option('--primary-lost', 'the host no longer exists: clean up at the recovery site only')
    .option('--force', 'with --yes and --primary-lost: continue even if the host of a VM answers')
    .option('--wait', 'return once it is done')
    .option('--yes', 'do not ask for confirmation')
    .addHelpText('after', '\nExample:\n  farshore unprotect db-01 --wait')
    .action(async (vms: string[], options: UnprotectOptions, command: Command) => {
      if (options.force && !options.primaryLost)
        throw new RefusedError('--force is only for --primary-lost: without it, the job waits for the host anyway');
      await withFarshore(command, async (farshore, place) => {
        const {
          site: { site },
          data,
        } = place;
        const asked = await askAll(farshore, vms, 'disableProtection', (view) => endedBefore(view, options));
        const starting = toStart(asked).map(({ view }) => view.item);
        const keepReplica = options.keepReplica ?? false;
        const empty = keepReplica ? starting.find((item) => !item.applied) : undefined;
        if (empty)
          throw new RefusedError(
            `${empty.vm}: its initial replication is not complete, so there is no replica to keep; leave out --keep-replica`,
          );
        const { LocalSite } = await import('../../local/local-site.js');
        const local = new LocalSite(site, data);
        const ends = await Promise.all(
          starting.map((item) =>
            endOf(
              local,
              item,
              site.vms.some(({ name }) => name === item.vm),
              options,
            ),
          ),
        );
        if (ends.length > 0) {
          const needing = ends.filter((end) => options.primaryLost && needsHost(end)).map(({ item: { vm } }) => vm);
          const signs = await hostSigns(
            farshore,
            place,
            toStart(asked).filter(({ vm }) => needing.includes(vm)),
          );
          const objections = signs.flatMap(({ vm, view, sign }): Objection[] =>
            sign.answers ? [{ vm, text: `${vm}: ${answersText(sign)}; ${insteadOfWaiving(view.item, options)}` }] : [],
          );
          const text = ends.map((end) => consequences(end) + owedText(end)).join('\n\n');
          await confirmAgainst(text, objections, 'to end protection without the host', options);
        }
        const start = (vm: string) => {
          const primaryLost = ends.find(({ item }) => item.vm === vm)?.primaryLost;
          return farshore.startJob(vm, 'disableProtection', {
            ...(keepReplica && { keepReplica }),
            ...(primaryLost && { primaryLost }),
          });
        };
        await followAll('unprotect', command, farshore, asked, start, options, (vm, job) => {
          const item = starting.find((one) => one.vm === vm);
          return `${vm}: protection has ended; ${outcomeText(item, job.result?.['replicaKept'] === true, options)}`;
        });
      });
    });
}

/**
 * For a VM whose protection has ended although the clean-up at its host has not: repeating the request changes nothing.
 */
export function endedBefore(
  view: ProtectedItemView | undefined,
  { primaryLost }: { readonly primaryLost?: true },
): string | undefined {
  if (!view || primaryLost || view.item.phase !== 'Unprotected' || view.item.job) return undefined;
  const { leftovers, sourceFence } = view.item;
  if (!leftovers && !sourceFence) return undefined;
  const left = sourceFence
    ? 'its source is not fenced yet; Farshore fences it automatically once its hypervisor and its Provider answer'
    : `an ended job could not undo a step at its host; to undo it now: farshore retry ${view.item.vm}`;
  return `its protection has already ended; ${left}`;
}

/** @param item its state before the job; undefined if its protection had ended before. */
function outcomeText(
  item: ProtectedItem | undefined,
  isKept: boolean,
  { primaryLost }: { readonly primaryLost?: true },
) {
  if (item?.activeSide !== 'recovery') return `its replica is ${isKept ? 'kept' : 'deleted'}`;
  const owed =
    item.sourceFence && !primaryLost
      ? '; it stays listed until Farshore has fenced its source, which happens automatically'
      : '';
  return `its replica VM keeps running at the recovery site${owed}`;
}

/** How the protection of a VM will end. */
export interface EndOfProtection {
  readonly item: ProtectedItem;
  readonly keepReplica: boolean;
  /** True if the primary site is not contacted. */
  readonly primaryLost: boolean;
  /**
   * The site file no longer names the VM and the hypervisor does not know it, so there is nothing to clean up there.
   */
  readonly unknownToHost: boolean;
  /** Number of recovery points in the vault; undefined if the store can't be read from here. */
  readonly points: number | undefined;
}

async function endOf(
  local: LocalSite,
  item: ProtectedItem,
  isNamed: boolean,
  { keepReplica = false, primaryLost = false }: { keepReplica?: boolean; primaryLost?: boolean },
): Promise<EndOfProtection> {
  const [known, state] = await Promise.all([
    local.hypervisorVms(item.host),
    unlessItHangs(local.recoveryState(item.vm), undefined),
  ]);
  // A VM that the site file names may have moved to another host.
  const unknownToHost = !isNamed && known !== undefined && !known.some(({ name }) => name === item.vm);
  return {
    item,
    keepReplica,
    unknownToHost,
    primaryLost: primaryLost || unknownToHost,
    points: state?.points.length,
  };
}

/** Whether --primary-lost would skip a step at the VM's host. */
const needsHost = ({ item, unknownToHost }: EndOfProtection): boolean =>
  !unknownToHost && (item.activeSide === 'primary' || item.sourceFence !== undefined || item.leftovers !== undefined);

/** The alternative while the host answers, as part of a sentence. */
function insteadOfWaiving(
  { vm, phase, activeSide, sourceFence, leftovers }: ProtectedItem,
  { keepReplica }: { readonly keepReplica?: true },
): string {
  if (leftovers) return `first undo the step that an ended job could not undo there: farshore retry ${vm}`;
  const plain = `farshore unprotect ${vm}${keepReplica ? ' --keep-replica' : ''} --wait`;
  if (activeSide === 'primary') return `without --primary-lost, unprotect also stops tracking changes there: ${plain}`;
  if (!sourceFence) return plain;
  const byItself = 'Farshore turns off and fences its source automatically once its hypervisor and its Provider answer';
  return phase === 'Unprotected' ? `${byItself}, and then nothing is left of its protection` : `${byItself}: ${plain}`;
}

export function owedText(end: EndOfProtection): string {
  const { item, primaryLost, unknownToHost } = end;
  if (primaryLost && !unknownToHost && !needsHost(end)) {
    return '\n  --primary-lost is not needed: its source is fenced already, and this does not involve its host.';
  }
  if (!item.sourceFence) return '';
  return primaryLost
    ? '\n  Farshore will no longer fence its source: if the primary site comes back, the VM may run at both sites.'
    : '\n  Its source is not fenced yet; the VM stays listed until it is. --primary-lost waives the fencing.';
}

/** For a VM that runs at the recovery site. */
function sourceText({ host, sourceFence, sourceRan }: ProtectedItem): string {
  const source = `the source VM and its disks on host ${host}`;
  if (sourceFence) return `${source}; the VM may still be running`;
  if (!sourceRan) return `${source}, off`;
  return `${source}, off since ${sourceRan.until}: it kept running after the failover, and data written there in that time exists only on these disks`;
}

/** Exactly what will be deleted and what will be kept. */
export function consequences({ item, keepReplica, primaryLost, unknownToHost, points }: EndOfProtection): string {
  const { vm, host, activeSide, applied, latestRecoveryPoint } = item;
  const newest = latestRecoveryPoint ? ` (newest: ${latestRecoveryPoint.time})` : '';
  const count = points === undefined ? 'all its recovery points' : counted(points, 'recovery point');
  const lines = (deleted: readonly string[], kept: readonly string[]) =>
    [
      `This ends the protection of ${vm}.`,
      ...deleted.map((line) => `  Deletes: ${line}`),
      ...kept.map((line) => `  Keeps:   ${line}`),
    ].join('\n');
  const cycles = 'received cycles and records of the copy';
  const records = 'its job records in the vault';
  if (item.phase === 'Unprotected')
    return `The protection of ${vm} has ended; this abandons its remaining clean-up at the primary site.`;
  if (activeSide === 'recovery') {
    return lines(
      [cycles],
      [
        `the replica VM, which keeps running at the recovery site, and its disks`,
        `the recovery point that it runs from${latestRecoveryPoint ? ` (${latestRecoveryPoint.id})` : ''}`,
        sourceText(item),
        `change logs of ${vm} on host ${host}, which is not contacted; they are deleted when the source is started there again`,
        records,
      ],
    );
  }
  const tracking = unknownToHost ? [] : primaryLost ? [] : [`change logs of ${vm} on host ${host}`];
  const source = unknownToHost
    ? `the VM's disks and change logs on host ${host}, which does not know the VM by this name`
    : primaryLost
      ? `everything on host ${host}, which is not contacted`
      : `the VM on host ${host}, which keeps running, and its disks`;
  return keepReplica
    ? lines(
        [...tracking, cycles],
        [
          `the replica as of ${applied?.sealedAt ?? 'its newest cycle'} and ${count}, until ${vm} is protected again`,
          source,
          records,
        ],
      )
    : lines([`the replica of ${vm} and ${count}${newest}`, ...tracking, cycles], [source, records]);
}
