/** `vm list` and `vm show`. */
import { Command, Option } from 'commander';
import { formatBytes } from '../../domain/bytes.js';
import { CatalogueError } from '../../domain/errors.js';
import type { Policy } from '../../domain/policy.js';
import type { RecoveryState } from '../../domain/recovery-point.js';
import { policyOf, type Site, type SiteVm } from '../../domain/site.js';
import { formatSeconds } from '../../domain/time.js';
import type { HypervisorAnswer, HypervisorVm } from '../../workers/local-site.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import { fields, table } from '../output.js';
import { nextCommand } from './next-command.js';
import { findPlace, outputOf, withFarshore } from './place.js';
import { pointsText, pointsValue } from './points-report.js';

const NO_ANSWER = 'unknown: hypervisor does not answer';

export function vmCommand(): Command {
  const vm = new Command('vm')
    .summary('the VMs and their replicas')
    .description('The VMs of the site file and their replicas.');
  vm.command('list')
    .summary('every VM, protected or not')
    .description(
      'Lists every VM of the site file, with its phase; of VMs that can not be protected as they are, it says why.\n' +
        'With --side recovery it lists the replica VMs instead, and where their disks are served.',
    )
    .addOption(new Option('--side <side>', 'whose VMs').choices(['primary', 'recovery']).default('primary'))
    .action(async ({ side }: { side: 'primary' | 'recovery' }, command: Command) => {
      await (side === 'primary' ? listPrimary(command) : listRecovery(command));
    });
  vm.command('show')
    .summary('everything about one VM, and what to do next')
    .description(
      'Shows phase, health and its reasons, RPO, policy, disks and where they are served, recovery points, what may be\n' +
        'asked of the VM now and why not the rest, and the next command to type.',
    )
    .argument('<vm>', 'name of the VM')
    .action(show);
  return vm;
}

async function listPrimary(command: Command): Promise<void> {
  const { LocalSite } = await import('../../workers/local-site.js');
  await withFarshore(command, async (farshore, { site: { site }, data }) => {
    const local = new LocalSite(site, data);
    const vms = await Promise.all(
      site.vms.map(async (vm) => ({
        vm,
        view: await farshore.protectedItem(vm.name),
        answer: await local.askHypervisor(vm),
      })),
    );
    outputOf(command).result(
      vms.map(({ vm, view, answer }) => ({
        vm: vm.name,
        host: vm.host,
        phase: view?.item.phase ?? 'Unprotected',
        health: view && view.item.phase !== 'Unprotected' ? view.health : undefined,
        state: answer.vm?.state,
        disks: vm.disks.length,
        excludedDisks: vm.disks.filter(({ excluded }) => excluded).map(({ name }) => name),
        bytes: answer.vm && sizeOf(answer.vm),
        protectable: protectable(answer),
        problem: problemOf(answer),
      })),
      vms.length === 0 ? 'The site file has no VMs.' : primaryTable(vms),
    );
  });
}

/** Undefined: nobody knows. */
const protectable = ({ answered, problem }: HypervisorAnswer): boolean | undefined =>
  answered ? problem === undefined : undefined;
const problemOf = ({ answered, problem }: HypervisorAnswer): string | undefined => (answered ? problem : NO_ANSWER);
const sizeOf = ({ disks }: HypervisorVm): number => disks.reduce((sum, { size }) => sum + size, 0);

function primaryTable(
  vms: readonly { vm: SiteVm; view: ProtectedItemView | undefined; answer: HypervisorAnswer }[],
): string {
  const rows = vms.map(({ vm, view, answer }) => {
    const size = answer.vm && sizeOf(answer.vm) > 0 ? formatBytes(sizeOf(answer.vm)) : '-';
    const phase = view?.item.phase ?? 'Unprotected';
    const verdict =
      problemOf(answer) ??
      answer.untold ??
      (phase === 'Unprotected' ? 'can be protected' : `health ${view?.health ?? 'unknown'}`);
    return [vm.name, vm.host, phase, answer.vm?.state ?? '-', diskCount(vm), size, verdict];
  });
  return table(['VM', 'HOST', 'PHASE', 'POWER', 'DISKS', 'SIZE', 'REMARK'], rows);
}

function diskCount({ disks }: SiteVm): string {
  const excluded = disks.filter((disk) => disk.excluded).length;
  return excluded > 0 ? `${disks.length} (${excluded} excluded)` : `${disks.length}`;
}

async function listRecovery(command: Command): Promise<void> {
  const { LocalSite } = await import('../../workers/local-site.js');
  const { site, data } = await findPlace(command);
  const vms = await new LocalSite(site.site, data).replicaVms();
  const rows = vms.flatMap((vm) =>
    vm.disks.map((disk, index) => [
      ...(index === 0 ? [vm.name, vm.state] : ['', '']),
      disk.name,
      formatBytes(disk.size),
      disk.nbdUri ?? '-',
    ]),
  );
  const text =
    vms.length === 0
      ? 'There are no replica VMs; a failover creates them.'
      : table(['VM', 'POWER', 'DISK', 'SIZE', 'SERVED AT'], rows);
  outputOf(command).result(vms, text);
}

async function show(name: string, _options: object, command: Command): Promise<void> {
  const { LocalSite } = await import('../../workers/local-site.js');
  await withFarshore(command, async (farshore, { site: { site }, data }) => {
    const vm = farshore.siteVm(name);
    const local = new LocalSite(site, data);
    const view = await farshore.protectedItem(name);
    const answer = await local.askHypervisor(vm);
    // A side that does not answer is when people look: everything else is shown all the same.
    const problems: string[] = answer.untold === undefined ? [] : [answer.untold];
    const unanswered = (error: unknown): undefined => {
      if (!(error instanceof CatalogueError)) throw error;
      problems.push(error.message);
    };
    const recovery = view && (await local.recoveryState(name).catch(unanswered));
    // Only what is running there is worth a question that may stay without an answer.
    const replicas = view?.item.activeSide === 'recovery' ? await local.replicaVms().catch(unanswered) : [];
    const replica = replicas?.find((each) => each.name === name);
    const found: Found = { vm, site, view, answer, recovery, replica, problems };
    outputOf(command).result(showValue(found), showText(found));
  });
}

interface Found {
  readonly vm: SiteVm;
  readonly site: Site;
  readonly view: ProtectedItemView | undefined;
  readonly answer: HypervisorAnswer;
  /** Undefined: the store does not answer, or knows no such VM. */
  readonly recovery: RecoveryState | undefined;
  readonly replica: HypervisorVm | undefined;
  readonly problems: readonly string[];
}

function showValue({ vm, site, view, answer, recovery, replica, problems }: Found) {
  return {
    vm: vm.name,
    host: vm.host,
    phase: view?.item.phase ?? 'Unprotected',
    activeSide: view?.item.activeSide ?? 'primary',
    epoch: view?.item.epoch,
    health: view?.health,
    conditions: view?.conditions ?? [],
    rpoSeconds: view?.rpoSeconds,
    policy: view?.item.policy ?? policyOf(site, vm),
    job: view?.item.job,
    applied: view?.item.applied,
    resync: view?.item.resync,
    state: answer.vm?.state,
    disks: answer.vm?.disks ?? [],
    problem: problemText(answer, problems),
    replicaVm: replica,
    ...pointsValue(recovery),
    operations: view?.operations,
    next: nextCommand(vm.name, view),
  };
}

function problemText(answer: HypervisorAnswer, problems: readonly string[]): string | undefined {
  const all = [problemOf(answer), ...problems].filter((problem) => problem !== undefined);
  return all.length > 0 ? all.join('\n') : undefined;
}

function showText(found: Found): string {
  const { vm, site, view, answer, recovery, replica, problems } = found;
  const conditions = view?.conditions.map(
    ({ health, message, since, remedy }) =>
      `${health}: ${message}${since === undefined ? '' : ` (since ${since})`}${remedy === undefined ? '' : `\n  Remedy: ${remedy}`}`,
  );
  const job = view?.item.job;
  const parts = [
    fields([
      ['VM', `${vm.name}, host ${vm.host}, ${answer.vm?.state ?? 'power unknown'}`],
      ['Phase', `${view?.item.phase ?? 'Unprotected'}, runs at the ${view?.item.activeSide ?? 'primary'} side`],
      ['Health', view && [view.health, ...(conditions ?? [])].join('\n')],
      ['RPO', view && (view.rpoSeconds === undefined ? 'none' : formatSeconds(view.rpoSeconds))],
      ['Policy', policyText(view?.item.policy ?? policyOf(site, vm))],
      ['Job', job && `${job.jobId}${job.task === undefined ? '' : `: ${job.task}`}`],
      ['Problem', problemText(answer, problems)],
    ]),
    diskTable(answer.vm?.disks ?? []),
    replica && `Replica VM, ${replica.state}:\n${diskTable(replica.disks)}`,
    view && pointsText(recovery, view),
    view && operationsText(view),
    `Next: ${nextCommand(vm.name, view)}`,
  ];
  return parts.filter((part) => part !== undefined && part !== '').join('\n\n');
}

function policyText(policy: Policy): string {
  const { name, copyFrequency, recoveryPointRetentionHours, appConsistentFrequencyHours } = policy;
  const appConsistent =
    appConsistentFrequencyHours > 0 ? `, app-consistent every ${appConsistentFrequencyHours} h` : '';
  return `${name}: changes are sent every ${copyFrequency}, recovery points kept for ${recoveryPointRetentionHours} h${appConsistent}`;
}

function diskTable(disks: HypervisorVm['disks']): string {
  if (disks.length === 0) return '';
  const rows = disks.map(({ name, format, size, logBytes, path, nbdUri, excluded }) => [
    name,
    format,
    formatBytes(size),
    excluded ? 'excluded' : formatBytes(logBytes),
    path,
    nbdUri ?? '-',
  ]);
  return table(['DISK', 'FORMAT', 'SIZE', 'LOGS', 'FILE', 'SERVED AT'], rows);
}

function operationsText({ operations }: ProtectedItemView): string {
  const rows = Object.entries(operations).map(([operation, permission]) => [
    operation,
    permission.allowed ? 'allowed' : `no: ${permission.reason}`,
  ]);
  return table(['OPERATION', 'NOW'], rows);
}
