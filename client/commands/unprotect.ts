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
        'on its disks, the primary site is not asked, and its tracker stops by itself. Says exactly what it ' +
        'deletes and keeps, and asks for confirmation. If the primary site is down, the job waits for it and can ' +
        "be cancelled; --primary-lost skips it. If the host answers, --primary-lost makes you type the VM's name, " +
        'or needs --force with --yes, because the host would keep tracking changes for nothing.',
    )
    .argument('<vm...>', 'names of VMs')
    .option('--keep-replica', 'keep the replica and its recovery points until the VM is protected again')
    .option('--primary-lost', 'the host no longer exists: clean up at the recovery site only')
    .option('--force', 'with --yes and --primary-lost: even if the host of a VM answers')
    .option('--wait', 'return once it is done')
    .option('--yes', 'do not ask for confirmation')
    .addHelpText('after', '\nExample:\n  farshore unprotect db-01 --wait')
    .action(async (vms: string[], options: UnprotectOptions, command: Command) => {
      if (options.force && !options.primaryLost)
        throw new RefusedError('--force is for --primary-lost: without that the host is asked anyway');
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
            `${empty.vm}: there is no replica to keep yet; its initial replication is not complete`,
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
          await confirmAgainst(text, objections, 'to end protection without its host', options);
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
          return `${vm}: it is not protected any more; ${outcomeText(item, job.result?.['replicaKept'] === true, options)}`;
        });
      });
    });
}

/** Of a VM whose protection has ended, though something is owed to its host, or left there: asking once more changes nothing. */
export function endedBefore(
  view: ProtectedItemView | undefined,
  { primaryLost }: { readonly primaryLost?: true },
): string | undefined {
  if (!view || primaryLost || view.item.phase !== 'Unprotected' || view.item.job) return undefined;
  const { leftovers, sourceFence } = view.item;
  if (!leftovers && !sourceFence) return undefined;
  const left = sourceFence
    ? 'its source has still to be told that the VM runs elsewhere, and is by itself once its hypervisor and its Provider answer'
    : 'a job has left something undone at its host';
  return `its protection has ended already; ${left}`;
}

/** @param item of before; undefined of a VM that was asked before. */
function outcomeText(
  item: ProtectedItem | undefined,
  isKept: boolean,
  { primaryLost }: { readonly primaryLost?: true },
) {
  if (item?.activeSide !== 'recovery') return `its replica is ${isKept ? 'kept' : 'deleted'}`;
  const owed =
    item.sourceFence && !primaryLost ? '; it stays listed until its source has been told, which happens by itself' : '';
  return `its replica VM goes on running at the recovery site${owed}`;
}

/** How the protection of a VM is going to end. */
export interface EndOfProtection {
  readonly item: ProtectedItem;
  readonly keepReplica: boolean;
  /** The primary site is not asked. */
  readonly primaryLost: boolean;
  /** The site file does not name it any more, and the hypervisor does not know it: nothing there has to be ended. */
  readonly unknownToHost: boolean;
  /** Of the vault; undefined when the store does not tell here. */
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
  // One that the site file names may have moved to another host.
  const unknownToHost = !isNamed && known !== undefined && !known.some(({ name }) => name === item.vm);
  return {
    item,
    keepReplica,
    unknownToHost,
    primaryLost: primaryLost || unknownToHost,
    points: state?.points.length,
  };
}

/** Is there anything that its host would be told, and is not with --primary-lost? */
const needsHost = ({ item, unknownToHost }: EndOfProtection): boolean =>
  !unknownToHost && (item.activeSide === 'primary' || item.sourceFence !== undefined || item.leftovers !== undefined);

/** What to do while the host can be told, as part of a sentence. */
function insteadOfWaiving(
  { vm, phase, activeSide, sourceFence, leftovers }: ProtectedItem,
  { keepReplica }: { readonly keepReplica?: true },
): string {
  if (leftovers) return `what a job has left undone there can be undone: farshore retry ${vm}`;
  const plain = `farshore unprotect ${vm}${keepReplica ? ' --keep-replica' : ''} --wait`;
  if (activeSide === 'primary') return `without --primary-lost it also stops tracking changes there: ${plain}`;
  if (!sourceFence) return plain;
  const byItself = 'its source is turned off and fenced by itself once its hypervisor and its Provider answer';
  return phase === 'Unprotected' ? `${byItself}, and then protection is over` : `${byItself}: ${plain}`;
}

export function owedText(end: EndOfProtection): string {
  const { item, primaryLost, unknownToHost } = end;
  if (primaryLost && !unknownToHost && !needsHost(end)) {
    return '\n  --primary-lost is not needed: its source has been told that the VM runs elsewhere, and nothing is asked of its host.';
  }
  if (!item.sourceFence) return '';
  return primaryLost
    ? '\n  Its source will not be told any more that the VM runs elsewhere: should it come back, both run.'
    : '\n  Its source has still to be told that the VM runs elsewhere; until then the VM stays listed. --primary-lost waives that.';
}

/** Of a VM that runs at the recovery site. */
function sourceText({ host, sourceFence, sourceRan }: ProtectedItem): string {
  const source = `the source VM and its disks on host ${host}`;
  if (sourceFence) return `${source}: nobody has heard yet that it is off`;
  if (!sourceRan) return `${source}, off`;
  return `${source}, off since ${sourceRan.until}: it went on running after the failover, and what was written there meanwhile is on these disks alone`;
}

/** Exactly what goes and what stays. */
export function consequences({ item, keepReplica, primaryLost, unknownToHost, points }: EndOfProtection): string {
  const { vm, host, activeSide, applied, latestRecoveryPoint } = item;
  const newest = latestRecoveryPoint ? `, the newest of ${latestRecoveryPoint.time}` : '';
  const count = points === undefined ? 'all its recovery points' : counted(points, 'recovery point');
  const lines = (deleted: readonly string[], kept: readonly string[]) =>
    [
      `This ends the protection of ${vm}.`,
      ...deleted.map((line) => `  Deletes: ${line}`),
      ...kept.map((line) => `  Keeps:   ${line}`),
    ].join('\n');
  const cycles = 'cycles that were received, and records of the copy';
  const records = 'the records of its jobs, in the vault';
  if (item.phase === 'Unprotected') return `The protection of ${vm} has ended; this gives up what is left of it.`;
  if (activeSide === 'recovery') {
    return lines(
      [cycles],
      [
        `the replica VM, which keeps running at the recovery site, and its disks`,
        `the recovery point that it runs from${latestRecoveryPoint ? ` (${latestRecoveryPoint.id})` : ''}`,
        sourceText(item),
        `change logs of ${vm} on host ${host}, which is not asked: they go when the source is started there again`,
        records,
      ],
    );
  }
  const tracking = unknownToHost ? [] : primaryLost ? [] : [`change logs of ${vm} on host ${host}`];
  const source = unknownToHost
    ? `whatever host ${host} has of the VM, which it does not know by this name`
    : primaryLost
      ? `whatever there is on host ${host}: it is not asked`
      : `the VM on host ${host} and its disks: it keeps running`;
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
