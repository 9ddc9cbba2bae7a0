/**
 * `vault`: shows the contents of the replica store. The store describes itself, so none of this needs Temporal or the
 * primary site.
 */
import path from 'node:path';
import { Command } from 'commander';
import { counted } from '../../domain/counted.js';
import { formatStoreAddress, storeAddressSchema, type StoreAddress } from '../../domain/store-address.js';
import { exitCodes } from '../exit-codes.js';
import { formatBytes } from '../../domain/bytes.js';
import { titleOf } from '../../domain/jobs/known-jobs.js';
import type { Phase } from '../../domain/protected-item.js';
import type { UnreadableVm, VaultVm } from '../../local/local-vault.js';
import { loadSite } from '../../config/site-file.js';
import { RefusedError } from '../errors.js';
import { fields, note, table } from '../output.js';
import type { Adopted } from '../adopt.js';
import { waitingForStore } from './store-patience.js';
import { damagedText, kindText, pointValue, suspectText } from './points-report.js';
import { commonOptions, dataFolderOf, outputOf, siteFileOf, withFarshore } from './place.js';

export interface StoreOption {
  readonly store?: string;
}

export const storeOption = [
  '--store <place>',
  "folder of the store, or address of its container (default: the site file's)",
] as const;

export function vaultCommand(): Command {
  const vault = new Command('vault')
    .summary('list, export and adopt the content of the replica store')
    .description(
      'The store describes itself: `list` and `export` work even without Temporal and the primary site, and while ' +
        'workers use the store.',
    );
  vault
    .command('list')
    .summary('VMs, disks, cycles, recovery points and job records')
    .description(
      'Lists every VM that the store describes: its disks and epoch, the newest applied cycle and the cycles ' +
        'received after it, its recovery points, and the number of job records.',
    )
    .option(...storeOption)
    .action(async (options: StoreOption, command: Command) => {
      const store = await storeOf(options, command);
      const place = formatStoreAddress(store);
      const { readVault } = await import('../../local/local-vault.js');
      const { vms, unreadable } = await waitingForStore(store, readVault(store));
      const value = { store: place, vms: vms.map(listed), unreadable };
      outputOf(command).result('vault list', value, listText(place, vms, unreadable));
      if (unreadable.length > 0) process.exitCode = exitCodes.failed;
    });
  vault
    .command('export')
    .summary('write the disks of a recovery point as VHD files')
    .description(
      'Writes each disk of a recovery point as a sparse fixed VHD, with the description of the VM. A file gets ' +
        'its name only when it is complete; run the same command again after an interruption.',
    )
    .argument('<vm>', 'name of the VM')
    .requiredOption(
      '--point <point>',
      'latest (with every cycle received completely), latest-processed, latest-app-consistent, or the id or name of a point',
    )
    .requiredOption('--to <dir>', 'folder to write to; created if it is missing')
    .option(...storeOption)
    .addHelpText(
      'after',
      '\nExample:\n  farshore vault export db-01 --point latest --to /srv/rescue/db-01 --store /srv/vault',
    )
    .action(async (vm: string, options: StoreOption & { point: string; to: string }, command: Command) => {
      const store = await storeOf(options, command);
      const to = path.resolve(options.to);
      const onDisk = (disk: string, bytes: number) => note(`${vm}/${disk}: ${formatBytes(bytes)} written`);
      const { exportFromVault, ExportRefused } = await import('../../local/local-vault.js');
      const exported = await exportFromVault(store, {
        vm,
        wanted: options.point,
        folder: to,
        onDisk,
      }).catch((error: unknown) => {
        throw error instanceof ExportRefused ? new RefusedError(error.message, { cause: error }) : error;
      });
      const { recoveryPoint, time, cyclesAdded, disks, suspect, stoppedBy, ranFrom } = exported;
      if (stoppedBy !== undefined) note(`Some data in the store could not be used: ${stoppedBy}`);
      if (ranFrom !== undefined)
        note(
          `${vm} runs at the recovery site, from the state of ${ranFrom}: data written there since is not in this export.`,
        );
      if (suspect !== undefined) note(`Recovery point ${recoveryPoint} is suspect: ${suspect}`);
      const files = disks.map(({ name, file, size }) => ({ name, path: path.join(to, file), size }));
      outputOf(command).result(
        'vault export',
        { ...exported, folder: to, disks: files },
        fields([
          ['VM', vm],
          ['State of', time],
          [
            'Recovery point',
            `${recoveryPoint}${cyclesAdded > 0 ? `, plus ${counted(cyclesAdded, 'cycle')} received after it` : ''}`,
          ],
          ['Files', files.map(({ path: file, size }) => `${file} (${formatBytes(size)})`).join('\n')],
        ]),
      );
    });
  vault
    .command('adopt')
    .summary("resume protection from the vault after Temporal's database is lost")
    .description(
      'Resumes the protection of every VM of the vault that has no protection workflow in Temporal, from the vault ' +
        'and the site file. Replication continues incrementally if the change logs continue from the newest cycle ' +
        'in the vault; ' +
        'otherwise the VM is marked for resynchronization. VMs that run at the recovery site stay there.',
    )
    .argument('[vm...]', 'names of VMs (default: all of the vault)')
    .action(adoptVms);
  return vault;
}

async function adoptVms(names: string[], _options: object, command: Command): Promise<void> {
  const { readVault } = await import('../../local/local-vault.js');
  const { LocalSite } = await import('../../local/local-site.js');
  const { adoptVm } = await import('../adopt.js');
  await withFarshore(command, async (farshore, { site: { site }, data }) => {
    const { vms, unreadable } = await waitingForStore(site.vault.store, readVault(site.vault.store, site.vault.name));
    const unknown = names.find((name) => ![...vms, ...unreadable].some(({ vm }) => vm === name));
    if (unknown !== undefined)
      throw new RefusedError(`the vault holds no VM ${unknown}; \`farshore vault list\` lists its VMs`);
    const local = new LocalSite(site, data);
    const adopted: Adopted[] = unreadable.map(({ vm, problem }) => ({ vm, refusal: problem }));
    for (const found of vms) {
      if (names.length > 0 && !names.includes(found.vm)) continue;
      const siteVm = site.vms.find(({ name }) => name === found.vm);
      adopted.push(await adoptVm(farshore, found, siteVm && (await local.askHypervisor(siteVm))));
    }
    const rows = adopted.map(({ vm, phase, resync, policy, refusal }) => [
      vm,
      phase ?? 'skipped',
      refusal ??
        ([
          ...(resync === undefined ? [] : [`to be resynchronized: ${resync}`]),
          ...(policy === undefined ? [] : [`keeps the policy ${policy}; the site file has another policy for it`]),
        ].join('; ') ||
          '-'),
    ]);
    if (adopted.some(({ phase }) => phase !== undefined))
      note('Earlier pauses have ended, as the vault does not record them.');
    if (unreadable.length > 0) process.exitCode = exitCodes.failed;
    const value = adopted.map(({ vm, phase, policy, resync, refusal }) => {
      return { vm, phase, policyName: policy, resyncCause: resync, refusal };
    });
    outputOf(command).result(
      'vault adopt',
      { vms: value },
      rows.length > 0 ? table(['VM', 'PHASE', 'REMARK'], rows) : 'The vault is empty.',
    );
  });
}

export async function storeOf({ store }: StoreOption, command: Command): Promise<StoreAddress> {
  if (store !== undefined) return storeNamed(store);
  const options = commonOptions(command);
  const data = dataFolderOf(options);
  const instance = (await data.isHeld()) ? await data.readInstance() : undefined;
  const { site } = await loadSite(options.site ?? instance?.siteFile ?? siteFileOf(options), { disks: false });
  return site.vault.store;
}

/** @throws RefusedError */
function storeNamed(text: string): StoreAddress {
  if (!/^https?:/.test(text)) return { kind: 'embedded', path: path.resolve(text) };
  const { data, error } = storeAddressSchema.safeParse({ kind: 'azure', url: text });
  if (data) return data;
  throw new RefusedError(`--store: ${error.issues[0]?.message}`);
}

function phaseOf({ description: { finalized, unprotectedAt }, state }: VaultVm): Phase {
  if (unprotectedAt !== undefined) return 'Unprotected';
  return state?.phase ?? (finalized ? 'Protected' : 'Seeding');
}

function phaseText(found: VaultVm): string {
  const { description, state } = found;
  if (description.unprotectedAt === undefined) return phaseOf(found);
  return `Unprotected since ${description.unprotectedAt}, ${state ? 'runs at the recovery site' : 'replica kept'}`;
}

const listed = (found: VaultVm) => ({
  ...records(found),
  phase: phaseOf(found),
  unprotectedAt: found.description.unprotectedAt,
  activeSide: found.state ? ('recovery' as const) : ('primary' as const),
});

const records = ({ vm, description, fence, applied, received, points, damaged, jobs }: VaultVm) => ({
  vm,
  host: description.host,
  disks: description.disks.map(({ name, size }) => ({ name, size })),
  epoch: description.epoch,
  fence,
  applied: applied && { epoch: applied.epoch, sequence: applied.sequence, sealedAt: applied.sealedAt },
  received: received.map(({ epoch, sequence, sealedAt }) => ({ epoch, sequence, sealedAt })),
  recoveryPoints: points.map(pointValue),
  damaged: damaged.map(({ name, problem }) => ({ name, problem })),
  jobs: { count: jobs?.count ?? 0, newest: jobs?.newest },
});

function listText(folder: string, vms: readonly VaultVm[], unreadable: readonly UnreadableVm[]): string {
  const parts = vms.map((found) => vmText(found));
  for (const { vm, problem } of unreadable) parts.push(`${vm} cannot be read: ${problem}`);
  return [`Store ${folder}: ${counted(vms.length + unreadable.length, 'VM')}`, ...parts].join('\n\n');
}

function vmText(found: VaultVm): string {
  const { vm, description, fence, applied, received, points, damaged, jobs } = found;
  const { kind, state: end, endedAt } = jobs?.newest ?? {};
  const lines = fields([
    ['VM', `${vm}, of host ${description.host}: ${phaseText(found)}`],
    ['Disks', description.disks.map(({ name, size }) => `${name} ${formatBytes(size)}`).join(', ')],
    [
      'Epoch',
      `${description.epoch}${fence.epoch > description.epoch ? `; writes of epochs before ${fence.epoch} are refused` : ''}`,
    ],
    ['Applied', applied ? `cycle ${applied.sequence} of epoch ${applied.epoch}, ${applied.sealedAt}` : 'none yet'],
    [
      'Received',
      received.length === 0
        ? 'none'
        : `${counted(received.length, 'complete cycle')}, the newest of ${received.at(-1)!.sealedAt}`,
    ],
    ['Job records', jobs && `${jobs.count}, newest: ${kind ? `${titleOf(kind)} ${end}, ${endedAt}` : jobs.newest.id}`],
  ]);
  const left = damagedText(damaged);
  if (points.length === 0) return `${lines}\nNo recovery points.${left}`;
  return `${lines}\n${table(
    ['RECOVERY POINT', 'TIME', 'KIND', 'NAME'],
    points.toReversed().map((point) => [point.id, point.time, kindText(point), point.tags?.join(', ') || '-']),
  )}${suspectText(points)}${left}`;
}
