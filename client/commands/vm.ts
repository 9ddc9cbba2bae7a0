/** `vm list`, `vm show`, and the commands for VMs that do not run. */
import { Command, Option } from 'commander';
import { formatBytes } from '../../domain/bytes.js';
import { drillText, lastDrillText } from '../../domain/drill.js';
import { CatalogueError } from '../../domain/errors.js';
import { fencingTexts } from '../../domain/fencing.js';
import { guestText } from '../../domain/guest.js';
import { hostSilence } from '../../domain/host-silence.js';
import { allowedOperations } from '../../domain/operations.js';
import { no } from '../../domain/permission.js';
import { hardwareLines } from '../../domain/hardware.js';
import type { Policy } from '../../domain/policy.js';
import type { RecoveryState } from '../../domain/recovery-point.js';
import { policyOf, type Site, type SiteVm } from '../../domain/site.js';
import { formatSeconds } from '../../domain/time.js';
import type { HypervisorAnswer, HypervisorVm, TestVm } from '../../local/local-site.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import { fields, table } from '../output.js';
import { replicaVmPower } from '../../domain/attention.js';
import type { Condition, Health } from '../../domain/health.js';
import type { HeldReplica, ReplicaVmPower } from '../../domain/held-replica.js';
import { nextStep, nextStepText } from '../../domain/next-step.js';
import { providerProblem, withoutProvider } from '../../domain/silent-provider.js';
import { BEFORE_THAT, startAgent } from '../../domain/start-again.js';
import { silentProviders } from '../../temporal/silent-providers.js';
import { findPlace, heldReplicas, outputOf, withFarshore } from './place.js';
import { pointsText, pointsValue } from './points-report.js';
import { diskValue } from '../infrastructure/infrastructure.js';
import { replicaVm, runningJob, testFailoverValue } from './shown.js';
import { operationsText } from './operations-text.js';
import { deleteReplicaCommand, startVmCommand } from './replica-vm.js';
import { activeSideOf, isProtectedNow, remarkOnPlace, powerText, whereText } from './vm-where.js';

const NO_ANSWER = 'its hypervisor does not answer on this machine';

export function vmCommand(): Command {
  const vm = new Command('vm')
    .summary('the VMs and their replica VMs')
    .description('The VMs of the site file and their replica VMs.');
  vm.command('list')
    .summary('every VM, protected or not')
    .description(
      'Lists every VM of the site file and every other protected VM with its phase. If a VM cannot be protected ' +
        'as it is, says why. With --side recovery, lists the replica VMs and test VMs and where their disks are served.',
    )
    .addOption(
      new Option('--side <side>', 'site whose VMs to list').choices(['primary', 'recovery']).default('primary'),
    )
    .action(async ({ side }: { side: 'primary' | 'recovery' }, command: Command) => {
      await (side === 'primary' ? listPrimary(command) : listRecovery(command));
    });
  vm.command('show')
    .summary('everything about one VM, and the next command to type')
    .description(
      'Shows phase, health with its reasons, RPO, policy, disks and where they are served, recovery points, ' +
        'which operations are allowed now and why the others are not, and the next command to type.',
    )
    .argument('<vm>', 'name of the VM')
    .action(show);
  vm.addCommand(startVmCommand());
  vm.addCommand(deleteReplicaCommand());
  return vm;
}

async function listPrimary(command: Command): Promise<void> {
  const [{ LocalSite }, { knownVms }] = await Promise.all([
    import('../../local/local-site.js'),
    import('../known-vms.js'),
  ]);
  await withFarshore(command, async (farshore, place) => {
    const { site } = place.site;
    const local = new LocalSite(site, place.data);
    const known = await knownVms(farshore, place);
    const held = await heldReplicas(
      site,
      known.filter(({ view }) => isProtectedNow(view)).map(({ name }) => name),
    );
    const replicaVms = await local.replicaStates();
    const vms = await Promise.all(
      known.map(async ({ name, siteVm, view }): Promise<Listed> => {
        const vm = siteVm ?? unnamed(name, view!);
        const heldOfVm = held.find((each) => each.vm === name);
        return {
          vm,
          isNamed: siteVm !== undefined,
          view,
          answer: await local.askHypervisor(vm),
          held: heldOfVm,
          replicaVm: replicaVmPower(name, view?.item, heldOfVm?.state, replicaVms),
        };
      }),
    );
    outputOf(command).result(
      'vm list',
      { vms: vms.map(listedValue) },
      vms.length === 0 ? 'The site file has no VMs.' : primaryTable(vms),
    );
  });
}

const listedValue = ({ vm, isNamed, view, answer, held, replicaVm: power }: Listed) => ({
  vm: vm.name,
  host: vm.host,
  inSiteFile: isNamed,
  phase: view?.item.phase ?? 'Unprotected',
  activeSide: activeSideOf(view, held),
  health: isProtectedNow(view) ? healthOf({ view, replicaVm: power }) : undefined,
  rpoSeconds: isProtectedNow(view) ? view?.rpoSeconds : undefined,
  power: answer.vm?.state,
  disks: vm.disks.map((disk) => diskValue(disk, answer.vm)),
  bytes: answer.vm && sizeOf(answer.vm),
  protectable: held?.state ? false : protectable(answer),
  problem: problemOf(answer),
});

/** Undefined if unknown. */
const protectable = ({ answered, problem }: HypervisorAnswer): boolean | undefined =>
  answered ? problem === undefined : undefined;
const problemOf = ({ answered, problem }: HypervisorAnswer): string | undefined => (answered ? problem : NO_ANSWER);
const sizeOf = ({ disks }: HypervisorVm): number => disks.reduce((sum, { size }) => sum + size, 0);

interface Listed {
  readonly vm: SiteVm;
  readonly isNamed: boolean;
  readonly view: ProtectedItemView | undefined;
  readonly answer: HypervisorAnswer;
  readonly held: HeldReplica | undefined;
  readonly replicaVm: ReplicaVmPower | undefined;
}

/** A VM that the site file no longer names, as its protection entity knows it. */
const unnamed = (name: string, { item: { host, policy } }: ProtectedItemView): SiteVm => ({
  name,
  host,
  policy: policy.name,
  generation: 2,
  disks: [],
  networkAdapters: [],
  hardware: { processors: 0, memoryBytes: 0 },
  checks: [],
  replica: { size: '' },
});

function verdictOf(listed: Listed): string {
  const { vm, isNamed, view, answer, held } = listed;
  const parts = remarkOnPlace(vm.name, listed);
  if (!isNamed) parts.unshift('not in the site file');
  const problem = isNamed ? (problemOf(answer) ?? answer.untold) : undefined;
  if (isProtectedNow(view)) parts.push(`health ${healthOf(listed)}`, ...(problem === undefined ? [] : [problem]));
  else if (held?.asProtected) parts.push(`replica without protection: farshore vault adopt ${vm.name}`);
  else if (held?.state) parts.push(`to protect it again: farshore vm delete-replica ${vm.name}`);
  else parts.push(problem ?? 'can be protected');
  return parts.join('; ');
}

function primaryTable(vms: readonly Listed[]): string {
  const rows = vms.map((listed) => {
    const { vm, isNamed, view, answer } = listed;
    const size = answer.vm && sizeOf(answer.vm) > 0 ? formatBytes(sizeOf(answer.vm)) : '-';
    const phase = view?.item.phase ?? 'Unprotected';
    const disks = isNamed ? diskCount(vm) : '-';
    return [vm.name, vm.host, phase, answer.vm?.state ?? '-', disks, size, verdictOf(listed)];
  });
  return table(['VM', 'HOST', 'PHASE', 'POWER', 'DISKS', 'SIZE', 'REMARK'], rows);
}

function diskCount({ disks }: SiteVm): string {
  const excluded = disks.filter((disk) => disk.excluded).length;
  return excluded > 0 ? `${disks.length} (${excluded} excluded)` : `${disks.length}`;
}

async function listRecovery(command: Command): Promise<void> {
  const { LocalSite } = await import('../../local/local-site.js');
  const { site, data } = await findPlace(command);
  const local = new LocalSite(site.site, data);
  const vms = [...(await local.replicaVms()), ...(await local.testVms())];
  const rows = vms.flatMap((vm) =>
    vm.disks.map((disk, index) => [
      ...(index === 0
        ? [nameText(vm), vm.state, vm.state === 'Running' ? (vm.guest?.booted ? 'booted' : 'not booted') : '-']
        : ['', '', '']),
      disk.name,
      formatBytes(disk.size),
      disk.nbdUri ?? '-',
    ]),
  );
  const text =
    vms.length === 0
      ? 'There are no replica VMs and no test VMs; a failover or a test failover creates them.'
      : table(['VM', 'POWER', 'GUEST', 'DISK', 'SIZE', 'SERVED AT'], rows);
  outputOf(command).result('vm list --side recovery', { vms: vms.map(replicaVm) }, text);
}

const nameText = (vm: HypervisorVm | TestVm): string =>
  'testOf' in vm ? `${vm.name} (test of ${vm.testOf})` : vm.name;

async function show(name: string, _options: object, command: Command): Promise<void> {
  const [{ LocalSite }, { toldViews }] = await Promise.all([
    import('../../local/local-site.js'),
    import('../known-vms.js'),
  ]);
  await withFarshore(command, async (farshore, place) => {
    const { site } = place.site;
    const local = new LocalSite(site, place.data);
    const known = await farshore.protectedItem(name);
    const siteVm = site.vms.find((each) => each.name === name);
    const vm = siteVm ?? unnamed(name, known!);
    const held = isProtectedNow(known) ? undefined : (await heldReplicas(site, [])).find((each) => each.vm === name);
    const [answer, told] = await Promise.all([
      local.askHypervisor(vm),
      toldViews(farshore, place, known ? [known] : []),
    ]);
    const toldView = told.get(name);
    const silent = toldView
      ? await silentProviders(farshore.temporal, site.vault.name, new Map([[name, toldView.item]]))
      : [];
    const seenView = toldView && withAgentAlone(toldView, answer);
    const view = seenView && silent.length > 0 ? withoutProvider(seenView) : seenView;
    // This command is used when a site does not answer, so everything else is still shown.
    const problems: string[] = answer.untold === undefined ? [] : [answer.untold];
    const unanswered = (error: unknown): undefined => {
      if (!(error instanceof CatalogueError)) throw error;
      problems.push(error.message);
    };
    const recovery = (view || held) && (await local.recoveryState(name).catch(unanswered));
    // The question may remain unanswered, so it is asked only if the VM should run there.
    const replicas = activeSideOf(view, held) === 'recovery' ? await local.replicaVms().catch(unanswered) : [];
    const replica = replicas?.find((each) => each.name === name);
    const states = replicas && new Map(replicas.map((each) => [each.name, each.state]));
    const replicaVmState = replicaVmPower(name, view?.item, held?.state, states);
    if (!siteVm) problems.push('The site file no longer names the VM');
    problems.push(...silent.map(({ vmmServer }) => providerProblem(vmmServer)));
    const power = replicaVmState;
    const isProviderSilent = silent.length > 0;
    const found: Found = {
      vm,
      site,
      view,
      held,
      answer,
      recovery,
      replica,
      replicaVm: power,
      isProviderSilent,
      problems,
    };
    outputOf(command).result('vm show', showValue(found), showText(found));
  });
}

interface Found {
  readonly vm: SiteVm;
  readonly site: Site;
  readonly view: ProtectedItemView | undefined;
  /** For an unprotected VM; undefined if the vault has nothing of it or can't be read from here. */
  readonly held: HeldReplica | undefined;
  readonly answer: HypervisorAnswer;
  /** Undefined if the store does not answer or does not know the VM. */
  readonly recovery: RecoveryState | undefined;
  readonly replica: HypervisorVm | undefined;
  readonly replicaVm: ReplicaVmPower | undefined;
  readonly isProviderSilent: boolean;
  readonly problems: readonly string[];
}

function showValue(found: Found) {
  const { vm, site, view, answer, recovery, replica, problems } = found;
  return {
    vm: vm.name,
    host: vm.host,
    phase: view?.item.phase ?? 'Unprotected',
    activeSide: activeSideOf(view, found.held),
    epoch: view?.item.epoch,
    health: healthOf(found),
    conditions: view?.conditions ?? [],
    rpoSeconds: view?.rpoSeconds,
    policy: view?.item.policy ?? policyOf(site, vm),
    job: view && runningJob(view.item),
    testFailover: view?.item.drill && testFailoverValue(view.item.drill),
    lastTestFailover: view?.item.lastDrill,
    applied: view?.item.applied,
    resync: view?.item.resync,
    power: answer.vm?.state,
    guest: answer.vm?.guest,
    fencing: answer.vm?.fencing,
    hardware: answer.vm?.hardware,
    disks: answer.vm?.disks ?? [],
    problem: problemText(answer, problems),
    replicaVm: replica && replicaVm(replica),
    ...pointsValue(recovery),
    operations: view?.operations,
    next: nextText(found),
  };
}

function nextText({ vm, view, held, answer, replicaVm: power, isProviderSilent }: Found): string {
  const seen = { held, source: answer.vm?.state, replicaVm: power, isProviderSilent };
  return nextStepText(nextStep(vm.name, view, new Date().toISOString(), seen));
}

/** As in `status`: a VM that does not run where it should is Critical. */
const healthOf = ({ view, replicaVm: power }: Pick<Listed, 'view' | 'replicaVm'>): Health | undefined =>
  view && (power === undefined || power === 'Running' ? view.health : 'Critical');

function problemText(answer: HypervisorAnswer, problems: readonly string[]): string | undefined {
  const all = [problemOf(answer), ...problems].filter((problem) => problem !== undefined);
  return all.length > 0 ? all.join('\n') : undefined;
}

/** If the VM is seen running, its host is not lost: only the agent must be started. */
function seenBeside({ item }: ProtectedItemView, { vm }: HypervisorAnswer, condition: Condition): Condition {
  if (condition.reason !== 'AgentNotAnswering' || vm?.state !== 'Running') return condition;
  return { ...condition, remedy: `The VM runs, so restart only the agent: ${startAgent(item.host)}. ${BEFORE_THAT}.` };
}

/** Like `seenBeside`, for the operation that needs the agent. */
function withAgentAlone(view: ProtectedItemView, { vm }: HypervisorAnswer): ProtectedItemView {
  const silence = hostSilence(view.item);
  const isRefusedForIt =
    allowedOperations(view.item).plannedFailover.allowed && !view.operations.plannedFailover.allowed;
  if (silence?.silent !== 'agent' || vm?.state !== 'Running' || !isRefusedForIt) return view;
  const heard = silence.heardAt === undefined ? '' : ` (last heard at ${silence.heardAt})`;
  const reason = `the agent of host ${silence.host} is not answering${heard}, and a planned failover needs it; the VM runs, so restart only the agent: ${startAgent(silence.host)}`;
  return { ...view, operations: { ...view.operations, plannedFailover: no(reason) } };
}

function isHostAlive({ item }: ProtectedItemView, { vm }: HypervisorAnswer): boolean {
  const silence = hostSilence(item);
  return item.activeSide === 'primary' && (silence?.silent !== 'agent' || vm?.state === 'Running');
}

function showText(found: Found): string {
  const { vm, site, view, answer, recovery, replica, problems } = found;
  const conditions = view?.conditions
    .map((condition) => seenBeside(view, answer, condition))
    .map(
      ({ health, message, since, remedy }) =>
        `${health}: ${message}${since === undefined ? '' : ` (since ${since})`}${remedy === undefined ? '' : `\n  Remedy: ${remedy}`}`,
    );
  const job = view?.item.job;
  const parts = [
    fields([
      ['VM', `${vm.name}, host ${vm.host}, ${powerText(found)}`],
      ['Phase', `${view?.item.phase ?? 'Unprotected'}, ${whereText(found)}`],
      ['Health', view && [healthOf(found), ...(conditions ?? [])].join('\n')],
      ['RPO', view && (view.rpoSeconds === undefined ? 'none' : formatSeconds(view.rpoSeconds))],
      ['Policy', policyText(view?.item.policy ?? policyOf(site, vm))],
      ['Job', job && `${job.jobId}${job.task === undefined ? '' : `: ${job.task}`}`],
      ['Test VM', view?.item.drill && drillText(view.item.drill)],
      ['Last test', view?.item.lastDrill && lastDrillText(view.item.lastDrill)],
      ['Hardware', answer.vm?.hardware && hardwareLines(answer.vm.hardware).join('\n')],
      ['Guest', answer.vm?.state === 'Running' ? guestText(answer.vm.guest) : undefined],
      ['Fencing', answer.vm && fencingTexts[answer.vm.fencing]],
      ['Problem', problemText(answer, problems)],
    ]),
    diskTable(answer.vm?.disks ?? []),
    replica &&
      [
        `Replica VM, ${replica.state}${replica.state === 'Running' ? `, ${guestText(replica.guest)}` : ''}:`,
        ...replicaHardware(replica),
        diskTable(replica.disks),
      ].join('\n'),
    view && pointsText(recovery, view),
    view && operationsText(view, isHostAlive(view, answer)),
    `Next: ${nextText(found)}`,
  ];
  return parts.filter((part) => part !== undefined && part !== '').join('\n\n');
}

const replicaHardware = ({ hardware }: HypervisorVm): string[] => (hardware ? hardwareLines(hardware) : []);

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
    excluded ? 'excluded' : logBytes === undefined ? '-' : formatBytes(logBytes),
    path,
    nbdUri ?? '-',
  ]);
  return table(['DISK', 'FORMAT', 'SIZE', 'LOGS', 'FILE', 'SERVED AT'], rows);
}
