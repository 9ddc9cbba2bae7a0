/** The facts about a cycle that a workflow keeps: names and numbers only. */
import type { AppConsistentFailure } from '../domain/app-consistency.js';
import type { DiskWrite } from '../domain/last-cut.js';
import type { CycleManifest } from '../domain/vault.js';
import type { ChangeSource } from '../ports/change-source.js';
import type { HypervisorVm } from '../ports/hypervisor-vm.js';

export interface DiskSize {
  readonly name: string;
  /** Virtual size, bytes. */
  readonly size: number;
}

export interface ShippedCycle {
  readonly sequence: number;
  readonly sealedAt: string;
  readonly final: boolean;
  /** Bytes of disk content sent. */
  readonly bytes: number;
  readonly lastWrites: readonly DiskWrite[];
  /** For a final cycle whose VM is off: writes that the tracker has recorded since; see `CutOfSource`. */
  readonly issued?: readonly DiskWrite[];
  readonly appConsistent?: boolean;
  /** Why the cycle is crash-consistent although an app-consistent one was requested. */
  readonly appConsistentFailure?: AppConsistentFailure;
}

/** Bytes. */
export const contentOf = ({ disks }: CycleManifest): number => disks.reduce((sum, { dataBytes }) => sum + dataBytes, 0);

export const shippedCycleOf = (manifest: CycleManifest): ShippedCycle => ({
  sequence: manifest.sequence,
  sealedAt: manifest.sealedAt,
  final: manifest.final,
  bytes: contentOf(manifest),
  lastWrites: manifest.disks.map(({ name, lastWrite }) => ({ name, lastWrite })),
  ...(manifest.appConsistent !== undefined && { appConsistent: manifest.appConsistent }),
  ...(manifest.appConsistentFailure && { appConsistentFailure: manifest.appConsistentFailure }),
});

export const replicatedDisks = ({ disks }: HypervisorVm): DiskSize[] =>
  disks.flatMap(({ name, size, excluded }) => (excluded ? [] : [{ name, size }]));

/** The writes that the tracker has recorded by now; undefined if the VM is not off, or they are not certain. */
export async function issuedWrites(
  source: Pick<ChangeSource, 'describeVm'>,
  { vm, epoch }: { vm: string; epoch: number },
): Promise<DiskWrite[] | undefined> {
  const { state, tracking } = await source.describeVm(vm);
  if (state !== 'Off' || tracking?.epoch !== epoch || tracking.resyncCause !== undefined) return undefined;
  return Object.entries(tracking.lastWrites).map(([name, lastWrite]) => ({ name, lastWrite }));
}
