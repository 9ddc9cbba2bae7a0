/** Verifies the result of a demo run and reports it: as a table, or as JSON. */

import { formatBytes } from '../../domain/bytes.js';
import type { FailoverResult } from '../../domain/job.js';
import type { StoreAddress } from '../../domain/store-address.js';
import { formatSeconds } from '../../domain/time.js';

import type { Instance } from '../../config/data-folder.js';
import type { LoadedSite } from '../../config/site-file.js';
import { workflowsUrl } from '../web-ui-pages.js';
import { fields, note, Output, table } from '../output.js';
import type { Seeded } from './demo-protection.js';
import type { DemoDisk } from './demo-site.js';
import type { Written } from './guests.js';
import { replicaFile } from './replica-file.js';
import { storySteps, type Screenshot, type StoryStep, type VmTransactions } from './story.js';
import { proveDisk, type DiskProof } from './verify.js';

/** What a finished run stores beside its site, for `--check`. */
export interface DemoRecord {
  readonly vms: VmFigures[];
  readonly planRun: string;
  /** Why the VMs were not booted. */
  readonly notBooted?: string;
  readonly story: readonly StoryStep[];
  readonly transactions: readonly VmTransactions[];
  readonly screenshots: readonly Screenshot[];
  /** What the guests had written when they last ended. */
  readonly written: readonly Written[];
  /** The comparison after the failover, before anything was written at the primary site again. */
  readonly afterFailover: { readonly ok: boolean; readonly skipped: readonly string[] };
}

interface VmFigures extends Seeded {
  readonly name: string;
  readonly failover: FailoverResult;
}

export interface Proven {
  readonly ok: boolean;
  /** The checks that could not be made, and why. */
  readonly skipped: readonly string[];
  readonly proofs: readonly { readonly disk: DemoDisk; readonly proof: DiskProof }[];
}

/**
 * Compares the disks of both sites, which must be at rest.
 * @param folder folder for data that must be fetched.
 * @param say prints a line.
 */
export async function proveDisks(
  folder: string,
  disks: readonly DemoDisk[],
  store: StoreAddress,
  written: readonly Written[],
  say: (line: string) => void = note,
): Promise<Proven> {
  const proofs: { disk: DemoDisk; proof: DiskProof }[] = [];
  for (const disk of disks) {
    const replica = await replicaFile(store, disk, folder);
    const newest = written.find((each) => each.vm === disk.vm && each.disk === disk.name);
    if (!newest) throw new Error(`it is unknown what was written to ${disk.vm}/${disk.name}`);
    const proof = await proveDisk(disk, replica, newest);
    proofs.push({ disk, proof });
    for (const check of proof.checks)
      say(`  ${disk.vm}/${disk.name}: ${check.name}: ${check.outcome} (${check.detail})`);
  }
  const checks = proofs.flatMap(({ proof }) => proof.checks);
  const skipped = checks.filter(({ outcome }) => outcome === 'skipped').map(({ name, detail }) => `${name}: ${detail}`);
  return { ok: checks.every(({ outcome }) => outcome !== 'failed'), skipped: [...new Set(skipped)], proofs };
}

/**
 * Prints the answer of the command.
 * @param instance the running instance, where the workflows can be viewed; `ending` if it stops with this command.
 * @returns whether everything was proven.
 */
export async function proveAndPrint(
  folder: string,
  disks: readonly DemoDisk[],
  { site }: LoadedSite,
  record: DemoRecord,
  json: boolean,
  instance: Instance | 'ending' | undefined,
): Promise<boolean> {
  note('Proving that each replica equals its source');
  const { proofs, ...proven } = await proveDisks(folder, disks, site.vault.store, record.written);
  const { vms: figures, planRun, notBooted, story, transactions, screenshots, afterFailover } = record;
  const ok = proven.ok && afterFailover.ok && story.every((step) => step.ok);
  const skipped = [...new Set([...afterFailover.skipped, ...proven.skipped])];
  const text = [
    storyTable(record),
    ...(transactions.length > 0 ? [transactionsTable(transactions)] : []),
    resultTable(record, proofs),
    ...skipped.map((line) => `Skipped: ${line}`),
    ...(notBooted === undefined ? [] : [`The guests were not booted: ${notBooted}`]),
    ...story.filter((step) => !step.ok).map(({ step, vm }) => `NOT AS IT SHOULD BE: ${titles[step]} of ${vm}`),
    proven.ok && afterFailover.ok ? 'Every replica disk equals its source.' : 'A REPLICA DIFFERS FROM ITS SOURCE.',
    webUiText(instance, { planRun, vms: figures }),
  ].join('\n');
  const vms = figures.map(({ name, failover }) => ({
    vm: name,
    disks: proofs
      .filter(({ disk }) => disk.vm === name)
      .map(({ proof: { name: diskName, bytes, sourceDigest, replicaDigest } }) => ({
        name: diskName,
        size: bytes,
        sourceDigest,
        replicaDigest,
      })),
    rpoSeconds: failover.rpoSeconds,
    rtoSeconds: failover.rtoSeconds,
  }));
  if (json) note(text);
  const answer = { ok, skipped, vms, planRun, story, transactions, screenshots };
  new Output(json).result('demo', { ...answer, ...(notBooted !== undefined && { notBooted }) }, text);
  return ok;
}

const titles: Record<StoryStep['step'], string> = {
  testFailover: 'Test failover',
  plannedFailover: 'Planned failover',
  commit: 'Commit',
  failback: 'Failback',
  reverseReplicate: 'Reverse replicate',
};

/** A column for each step, with its time; the commit of the failover and that of the failback are added up. */
export function storyTable({ story, vms }: Pick<DemoRecord, 'story'> & { vms: readonly { readonly name: string }[] }) {
  const rows = vms.map(({ name }) => [
    name,
    ...storySteps.map((step) => {
      const own = story.filter((each) => each.vm === name && each.step === step);
      if (own.length === 0) return '-';
      const seconds = own.reduce((sum, each) => sum + each.seconds, 0);
      return `${own.every(({ ok }) => ok) ? '' : 'NOT OK, '}${formatSeconds(seconds)}`;
    }),
  ]);
  return `\n${table(['VM', ...storySteps.map((step) => titles[step])], rows)}\n`;
}

function transactionsTable(transactions: readonly VmTransactions[]): string {
  const rows = transactions.map(({ vm, atTest, atSource, atRecovery, leftAtRecovery, afterFailback }) => [
    vm,
    `${atTest}`,
    `${atSource} = ${atRecovery}`,
    `${leftAtRecovery} = ${afterFailback}`,
  ]);
  return `${table(['Newest transaction', 'Test', 'Source = replica VM', 'Replica VM = after failback'], rows)}\n`;
}

function resultTable(record: DemoRecord, proofs: Proven['proofs']): string {
  const rows = proofs.map(({ disk, proof }) => {
    const vm = record.vms.find((each) => each.name === disk.vm)!;
    const numbers = vm.failover.disks.find((each) => each.name === disk.name);
    return [
      `${disk.vm}/${disk.name}`,
      formatBytes(disk.size),
      `${vm.seedSeconds.toFixed(1)} s`,
      `${numbers?.lastWriteIssued ?? '?'} = ${numbers?.lastWriteApplied ?? '?'}`,
      `${vm.failover.rpoSeconds} s`,
      `${vm.failover.rtoSeconds} s`,
      proof.sourceDigest === proof.replicaDigest ? `equal ${proof.replicaDigest.slice(0, 12)}` : 'DIFFERENT',
    ];
  });
  return `${table(['Disk', 'Size', 'Protected in', 'Last write issued = applied', 'RPO', 'RTO', 'Replica'], rows)}\n`;
}

/** Where the workflows can be viewed, as long as the instance runs. */
export function webUiText(
  instance: Instance | 'ending' | undefined,
  record: { readonly planRun: string; readonly vms: readonly { readonly name: string }[] },
): string {
  // By the time the address is read, it would no longer work.
  if (instance === 'ending') {
    return fields([['Web UI', 'stops with the demo; to explore it, leave it running: npm run demo -- --keep']]);
  }
  if (instance?.temporal.uiUrl === undefined) return fields([['Plan run', record.planRun]]);
  const { uiUrl, namespace } = instance.temporal;
  return fields([
    ['Web UI', workflowsUrl({ uiUrl, namespace })],
    ['Entities', record.vms.map((vm) => `vm/demo-vault/${vm.name}`).join(', ')],
    ['Plan run', record.planRun],
  ]);
}
