/** `protect`, `sync` and `retry`. */
import { Command, InvalidArgumentError } from 'commander';
import { formatBytes } from '../../domain/bytes.js';
import { waitsForPerson } from '../../domain/job.js';
import { titleOf } from '../../domain/jobs/known-jobs.js';
import { tagSchema } from '../../domain/named-points.js';
import { phaseText, seedingStopped, type ProtectedItem } from '../../domain/protected-item.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import { JobFailedError, RefusedError } from '../errors.js';
import type { SiteVm } from '../../domain/site.js';
import { note } from '../output.js';
import type { LocalSite } from '../../local/local-site.js';
import type { Farshore } from '../farshore.js';
import { confirm } from './confirm.js';
import { Progress } from '../progress.js';
import { outputOf, withFarshore } from './place.js';
import { problemOf, retryRemark, standstill, throwProblems, untilInterrupted, waitForJob } from './wait.js';

interface WaitOption {
  readonly wait?: true;
}

export function protectCommand(): Command {
  return new Command('protect')
    .summary('copy VMs to the recovery site and keep the copies up to date')
    .description(
      'Enables protection: checks the prerequisites, copies all disks while the VM keeps running, and then sends ' +
        'its changes at the frequency of its policy. Starts nothing unless all the VMs can be protected now. ' +
        'Asks for confirmation if this deletes earlier recovery points.',
    )
    .argument('<vm...>', 'names of VMs')
    .option('--wait', 'return once the VMs are Protected')
    .addHelpText('after', '\nExample:\n  farshore protect web-01 db-01 --wait')
    .option('--yes', 'do not ask for confirmation')
    .action(async (names: string[], { wait, yes }: WaitOption & { yes?: true }, command: Command) => {
      await withFarshore(command, async (farshore, { site, data }) => {
        const vms = [...new Set(names)];
        await requireUnprotected(farshore, vms);
        const { LocalSite } = await import('../../local/local-site.js');
        const local = new LocalSite(site.site, data);
        await refuseReplicaVms(local, vms);
        const isOff = (vm: string) => isOffAtHome(local, farshore.siteVm(vm));
        const off = await Promise.all(vms.map(isOff));
        for (const vm of vms.filter((_, index) => off[index])) note(offText(vm));
        const kept = await keptReplicas(local, vms);
        if (kept.length > 0) await confirm(overwritingText(kept), yes);
        const jobs: { vm: string; jobId: string }[] = [];
        for (const vm of vms) jobs.push({ vm, ...(await farshore.protect(vm)) });
        if (!wait) {
          const lines = jobs.map(({ vm, jobId }) => `${vm}: protection is being enabled (${jobId})`);
          outputOf(command).result('protect', { vms: jobs }, [...lines, 'Follow it with: farshore status'].join('\n'));
          return;
        }
        const progress = new Progress();
        const ends = await Promise.all(
          jobs.map(async (job) => ({
            ...job,
            ...(await waitUntilProtected(farshore, job, progress)),
            // The VM may have been started in the meantime.
            off: await isOff(job.vm),
          })),
        );
        progress.close();
        outputOf(command).result(
          'protect',
          {
            vms: ends.map(({ vm, jobId, view, problem }) => ({
              vm,
              jobId,
              phase: view?.item.phase ?? 'Unprotected',
              health: view?.health,
              problem,
            })),
          },
          ends
            .map(({ vm, view, off }) => {
              const phase = view?.item.phase ?? 'Unprotected';
              return off ? `${vm}: ${phase}, and off at the primary site: farshore vm start ${vm}` : `${vm}: ${phase}`;
            })
            .join('\n'),
        );
        throwProblems(ends.map(({ problem }) => problem));
      });
    });
}

/**
 * A new initial replication would overwrite the disks that a replica VM runs from. If the recovery site does not
 * answer, the job reports it.
 * @throws RefusedError
 */
async function refuseReplicaVms(local: LocalSite, vms: readonly string[]): Promise<void> {
  const replicas = await local.replicaVms().catch(() => []);
  const found = replicas.filter(({ name }) => vms.includes(name));
  if (found.length === 0) return;
  throw new RefusedError(
    found
      .map(
        ({ name, state }) =>
          `${name}: it was failed over; its replica VM is ${state} at the recovery site, on disks that a new initial\n` +
          `  replication would overwrite.\n  Remedy: if you no longer need their data: farshore vm delete-replica ${name}`,
      )
      .join('\n'),
  );
}

/** If the hypervisor does not answer, the job reports it. */
const isOffAtHome = async (local: LocalSite, vm: SiteVm): Promise<boolean> =>
  (await local.askHypervisor(vm)).vm?.state === 'Off';

const offText = (vm: string): string =>
  `${vm} is off at the primary site; its disks are protected as they are. To start it: farshore vm start ${vm}`;

/** A VM's replica in the vault, with its recovery points. */
export interface KeptReplica {
  readonly vm: string;
  /** When its protection was ended on purpose. */
  readonly unprotectedAt?: string | undefined;
}

/** If the store does not answer, the job reports it. */
async function keptReplicas(local: LocalSite, vms: readonly string[]): Promise<KeptReplica[]> {
  const kept = await Promise.all(
    vms.map(async (vm) => {
      const state = await local.recoveryState(vm).catch(() => undefined);
      return state && state.points.length > 0 ? [{ vm, unprotectedAt: state.description.unprotectedAt }] : [];
    }),
  );
  return kept.flat();
}

/** Replication can be continued only if it was not ended on purpose. */
export function overwritingText(kept: readonly KeptReplica[]): string {
  const names = kept.map(({ vm }) => vm).join(', ');
  const adoptable = kept.filter(({ unprotectedAt }) => unprotectedAt === undefined).map(({ vm }) => vm);
  return [
    `The vault holds earlier recovery points of ${names}: this deletes them and copies all disks again.`,
    ...(adoptable.length > 0
      ? [
          `If Temporal has lost its database, resume from the replica in the vault instead: farshore vault adopt ${adoptable.join(' ')}`,
        ]
      : []),
  ].join('\n');
}

/** @throws RefusedError that lists all VMs that can't be protected now. */
async function requireUnprotected(farshore: Farshore, vms: readonly string[]): Promise<void> {
  for (const vm of vms) farshore.siteVm(vm);
  const refusals = await Promise.all(
    vms.map(async (vm) => {
      const permission = (await farshore.protectedItem(vm))?.operations.enableProtection;
      return permission?.allowed === false ? [`${vm}: ${permission.reason}`] : [];
    }),
  );
  if (refusals.flat().length > 0) throw new RefusedError(`nothing was started\n${refusals.flat().join('\n')}`);
}

interface ProtectEnd {
  readonly view: ProtectedItemView | undefined;
  readonly problem?: string | undefined;
}

async function waitUntilProtected(
  farshore: Farshore,
  { vm, jobId }: { vm: string; jobId: string },
  progress: Progress,
): Promise<ProtectEnd> {
  const job = await waitForJob(farshore, jobId, progress);
  const problem = problemOf(job);
  if (problem !== undefined) return { view: await farshore.protectedItem(vm), problem };
  const view = await untilInterrupted(`initial replication of ${vm}`, 'status', () =>
    farshore.followVm(vm, isSettled, (news) => showSeeding(vm, news, progress)),
  );
  if (!view) return { view, problem: `${vm}: its protection has ended` };
  const { item } = view;
  if (item.job && waitsForPerson(item.job))
    return { view, problem: standstill(`${titleOf(item.job.kind)} of ${vm}`, vm, item.job.retry) };
  if (seedingStopped(item)) {
    const message = view.conditions[0]?.message ?? 'initial replication stopped before it was complete';
    return { view, problem: `${vm}: ${message}\n  Remedy: farshore retry ${vm}` };
  }
  return { view };
}

const isSettled = (view: ProtectedItemView | undefined): boolean =>
  !view ||
  (view.item.phase !== 'Unprotected' && view.item.phase !== 'Seeding') ||
  seedingStopped(view.item) ||
  (view.item.job !== undefined && waitsForPerson(view.item.job));

function showSeeding(vm: string, view: ProtectedItemView | undefined, progress: Progress): void {
  const job = view?.item.job;
  if (!job) {
    if (view && view.item.phase !== 'Seeding') progress.update(vm, { name: phaseText[view.item.phase] });
    return;
  }
  const title = titleOf(job.kind);
  progress.update(vm, {
    name: job.task === undefined || job.task === title ? title : `${title}: ${job.task}`,
    bytes: job.progress,
    ...retryRemark(job.retry),
  });
}

export function syncCommand(): Command {
  return new Command('sync')
    .summary('send the changes now')
    .description(
      'Sends the changes of a protected VM now instead of waiting for its next cycle. --tag names the recovery ' +
        'point, which is then created even if nothing has changed. A named point has the same retention as any other.',
    )
    .argument('<vm>', 'name of the VM')
    .option('--tag <name>', 'name the recovery point; no other point of the VM may have the name', parseTag)
    .option('--wait', 'return once the replica holds the changes')
    .addHelpText('after', '\nExample:\n  farshore sync db-01 --tag before-upgrade --wait')
    .action(async (vm: string, { wait, tag }: WaitOption & { tag?: string }, command: Command) => {
      await withFarshore(command, async (farshore) => {
        const { sequence } = await farshore.sync(vm, tag);
        if (!wait) {
          outputOf(command).result('sync', { vm, sequence, tag }, `${vm}: cycle ${sequence} is due now`);
          return;
        }
        const view = await waitForCycle(farshore, vm, sequence);
        const { applied, latestRecoveryPoint, namedPoints } = view.item;
        const named = tag === undefined ? undefined : namedPoints?.find((point) => point.tag === tag);
        const text = `${vm}: the replica holds cycle ${applied?.sequence}, sealed at ${applied?.sealedAt} (${formatBytes(applied?.bytes ?? 0)} sent)`;
        const point = named ? { recoveryPoint: named.id } : madeOf(latestRecoveryPoint);
        outputOf(command).result(
          'sync',
          { vm, sequence, tag, applied, ...point, rpoSeconds: view.rpoSeconds },
          named ? `${text}\n${vm}: recovery point ${named.id} has the name ${named.tag}` : text,
        );
      });
    });
}

const madeOf = (newest: ProtectedItem['latestRecoveryPoint']) =>
  newest && { recoveryPoint: newest.id, recoveryPointTime: newest.time };

function parseTag(text: string): string {
  const tag = tagSchema.safeParse(text);
  if (tag.success) return tag.data;
  throw new InvalidArgumentError(tag.error.issues[0]!.message);
}

/** @throws JobFailedError if the cycle can't be made unless an operator acts. */
async function waitForCycle(farshore: Farshore, vm: string, sequence: number): Promise<ProtectedItemView> {
  const progress = new Progress();
  const isThere = (view: ProtectedItemView) => (view.item.applied?.sequence ?? 0) >= sequence;
  const isStuck = ({ item }: ProtectedItemView) =>
    waitsForPerson(item) || item.resync !== undefined || item.phase !== 'Protected';
  const view = await untilInterrupted(`cycle ${sequence} of ${vm}`, `vm show ${vm}`, () =>
    farshore.followVm(
      vm,
      (news) => !news || isThere(news) || isStuck(news),
      (news) => progress.update(vm, { name: `Cycle ${sequence}`, ...retryRemark(news?.item.retry) }),
    ),
  );
  progress.close();
  if (!view) throw new JobFailedError(`${vm}: its protection has ended`);
  if (isThere(view)) return view;
  const { item } = view;
  if (item.resync) throw new JobFailedError(`${vm}: the VM is marked for resynchronization: ${item.resync.cause}`);
  if (item.phase !== 'Protected') throw new JobFailedError(`${vm}: the VM is now ${phaseText[item.phase]}`);
  throw new JobFailedError(standstill(`cycle ${sequence} of ${vm}`, vm, item.retry));
}

export function retryCommand(): Command {
  return new Command('retry')
    .summary('retry the failed step now')
    .description(
      'Retries the failed step of a VM now. Recoverable errors are retried automatically after 1, 2, 4, 8 and ' +
        '10 minutes, then every 30 minutes; all others wait for this command.',
    )
    .argument('<vm>', 'name of the VM')
    .action(async (vm: string, _options: object, command: Command) => {
      await withFarshore(command, async (farshore) => {
        const { retried } = await farshore.retry(vm);
        outputOf(command).result('retry', { vm, retried }, `${vm}: retrying: ${retried}`);
      });
    });
}
