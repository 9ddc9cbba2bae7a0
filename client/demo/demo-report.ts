/** Verifies the result of a demo run and reports it: as a table, or as JSON. */

import { formatBytes } from '../../domain/bytes.js';
import type { FailoverResult } from '../../domain/job.js';

import type { Instance } from '../../config/data-folder.js';
import type { LoadedSite } from '../../config/site-file.js';
import { workflowsUrl } from '../web-ui-pages.js';
import { fields, note, Output, table } from '../output.js';
import type { DemoDisk } from './demo-site.js';
import type { GuestReport } from './guests.js';
import { replicaFile } from './replica-file.js';
import { proveDisk, type DiskProof } from './verify.js';

/** What a finished run stores beside its site, for `--check`. */
export interface DemoRecord {
  readonly vms: VmFigures[];
  readonly planRun: string;
  readonly guests: GuestReport[];
}

interface VmFigures {
  readonly name: string;
  /** Bytes of disk content that were sent. */
  readonly bytesSent: number;
  readonly seedSeconds: number;
  readonly failover: FailoverResult;
}

/**
 * @param folder folder for data that must be fetched.
 * @param instance the running instance, where the workflows can be viewed; `ending` if it stops with this command.
 * @returns false if a replica differs.
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
  const proofs: { disk: DemoDisk; proof: DiskProof }[] = [];
  for (const disk of disks) {
    const replica = await replicaFile(site.vault.store, disk, folder);
    const acknowledged =
      record.guests.find((guest) => guest.vm === disk.vm && guest.disk === disk.name)?.acknowledged ?? 0;
    const proof = await proveDisk(disk, replica, acknowledged);
    proofs.push({ disk, proof });
    for (const check of proof.checks)
      note(`  ${disk.vm}/${disk.name}: ${check.name}: ${check.outcome} (${check.detail})`);
  }
  const checks = proofs.flatMap(({ proof }) => proof.checks);
  const ok = checks.every((check) => check.outcome !== 'failed');
  const skipped = [
    ...new Set(checks.filter((check) => check.outcome === 'skipped').map((check) => `${check.name}: ${check.detail}`)),
  ];
  const text = [
    resultTable(record, proofs),
    ...skipped.map((line) => `Skipped: ${line}`),
    ok ? 'Every replica disk equals its source.' : 'A REPLICA DIFFERS FROM ITS SOURCE.',
    webUiText(instance, record),
  ].join('\n');
  const vms = record.vms.map(({ name, failover }) => ({
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
  new Output(json).result('demo', { ok, skipped, vms, planRun: record.planRun }, text);
  return ok;
}

function resultTable(record: DemoRecord, proofs: readonly { disk: DemoDisk; proof: DiskProof }[]): string {
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
  return `\n${table(['Disk', 'Size', 'Protected in', 'Last write issued = applied', 'RPO', 'RTO', 'Replica'], rows)}\n`;
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
