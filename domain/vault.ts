/**
 * What the vault keeps in the replica store, object by object. The store describes itself: everything here can be read
 * and understood without Temporal.
 *
 * Layout, all names relative to the store:
 *   vms/<vm>/description.json            the VM as it will be created at failover
 *   vms/<vm>/disks/<disk>.vhd            the replica at the newest applied state, where disks are page blobs (sites/vhd-disks.ts)
 *   vms/<vm>/seed/<epoch>/<disk>/<n>.digests  of the n-th slice of the initial copy; <first>-<last>.pack of 64 that are there
 *   vms/<vm>/resync/<epoch>/<disk>/<n>.digests  of the replica's blocks when a resynchronization began; packed likewise
 *   vms/<vm>/verified/<epoch>/<disk>.json  the initial copy of the disk was read back and found equal
 *   vms/<vm>/verify/<cycle>/<disk>/<n>.digests  blocks of the replica at a cycle, while it is verified
 *   vms/<vm>/cycles/<cycle>/<disk>.changes  one disk's change set
 *   vms/<vm>/cycles/<cycle>/<disk>/<n>.changes  the same in parts, where it is large
 *   vms/<vm>/cycles/<cycle>/<disk>/<n>.json  the part is there, and was read back
 *   vms/<vm>/cycles/<cycle>/manifest.json   written last: the cycle exists when this does
 *   vms/<vm>/applied.json                the newest cycle that every replica disk holds
 *   vms/<vm>/points/<point>.json         recovery points
 *   vms/<vm>/point-index.json            what most of them say, in one object
 *   vms/<vm>/policy.json                the policy it is replicated by
 *   vms/<vm>/state.json                  which side the VM runs at, of the epoch in which that was settled
 *   jobs/<...>.json                      records of finished jobs
 *   vault/owner.json                     the name of the vault whose store this is
 *   <scope>/second/<...>                 the second copy of a record that others depend on, below `vms/<vm>` or `vault`
 */
import { z } from 'zod';
import { appConsistentFailureSchema } from './app-consistency.js';
import { fenceSchema, type Fence } from './fence.js';
import { hardwareSchema } from './hardware.js';
import { cycleName, nameSchema } from './ids.js';
import { isoTimeSchema } from './time.js';

const bytes = z.int().min(0);
/** blake3, hex. */
const digestSchema = z.string().regex(/^[0-9a-f]{64}$/);

export const vaultPaths = {
  vm: (vm: string) => `vms/${vm}`,
  description: (vm: string) => `vms/${vm}/description.json`,
  seeds: (vm: string) => `vms/${vm}/seed/`,
  seedPrefix: (vm: string, epoch: number, disk: string) => `vms/${vm}/seed/${epoch}/${disk}/`,
  allTargetDigests: (vm: string) => `vms/${vm}/resync/`,
  targetDigestPrefix: (vm: string, epoch: number, disk: string) => `vms/${vm}/resync/${epoch}/${disk}/`,
  verifiedDisks: (vm: string) => `vms/${vm}/verified/`,
  verifiedDisk: (vm: string, epoch: number, disk: string) => `vms/${vm}/verified/${epoch}/${disk}.json`,
  verification: (vm: string) => `vms/${vm}/verify/`,
  verificationPrefix: (vm: string, epoch: number, sequence: number, disk: string) =>
    `vms/${vm}/verify/${cycleName(epoch, sequence)}/${disk}/`,
  cyclePrefix: (vm: string) => `vms/${vm}/cycles/`,
  changes: (vm: string, epoch: number, sequence: number, disk: string) =>
    `vms/${vm}/cycles/${cycleName(epoch, sequence)}/${disk}.changes`,
  changesPart: (vm: string, epoch: number, sequence: number, disk: string, part: number) =>
    `vms/${vm}/cycles/${cycleName(epoch, sequence)}/${disk}/${String(part).padStart(8, '0')}.changes`,
  sentPart: (vm: string, epoch: number, sequence: number, disk: string, part: number) =>
    `vms/${vm}/cycles/${cycleName(epoch, sequence)}/${disk}/${String(part).padStart(8, '0')}.json`,
  manifest: (vm: string, epoch: number, sequence: number) =>
    `vms/${vm}/cycles/${cycleName(epoch, sequence)}/manifest.json`,
  applied: (vm: string) => `vms/${vm}/applied.json`,
  vms: 'vms/',
  state: (vm: string) => `vms/${vm}/state.json`,
  policy: (vm: string) => `vms/${vm}/policy.json`,
  damage: (vm: string) => `vms/${vm}/damage.json`,
  pointPrefix: (vm: string) => `vms/${vm}/points/`,
  pointIndex: (vm: string) => `vms/${vm}/point-index.json`,
  leasePrefix: (vm: string) => `vms/${vm}/leases/`,
  lease: (vm: string, id: string) => `vms/${vm}/leases/${id}.json`,
  point: (vm: string, point: string) => `vms/${vm}/points/${point}.json`,
  jobs: (vm: string) => `jobs/job/${vm}/`,
  allJobs: 'jobs/job/',
  /** The store is of one vault, so that is left out of the id. */
  jobRecord: (jobId: string) => `jobs/${jobId.replace(/^job\/[^/]+(?=(\/[^/]+){3}$)/, 'job')}.json`,
  ownerScope: 'vault',
  owner: 'vault/owner.json',
  /** Of a record in the scope `vms/<vm>` or `vault`; of a prefix the prefix of the second copies. */
  second: (name: string) => name.replace(/^vms\/[^/]+|^vault/, '$&/second'),
} as const;

export const replicaDescriptionSchema = z.object({
  vm: nameSchema,
  host: nameSchema,
  vmmServer: nameSchema,
  epoch: z.int().min(1),
  generation: z.union([z.literal(1), z.literal(2)]),
  size: z.string(),
  osDisk: nameSchema,
  disks: z.array(
    z.object({
      name: nameSchema,
      /** Virtual size of the source, bytes. */
      size: bytes,
      /** Virtual size of the replica: the source's, rounded up to 1 MiB as Azure wants it. */
      replicaSize: bytes,
    }),
  ),
  networkAdapters: z.array(z.object({ name: nameSchema, network: nameSchema, subnet: nameSchema })),
  /** Of the source VM, as its hypervisor told it when the replica was begun, or resynchronized last. */
  hardware: hardwareSchema.exactOptional(),
  /** False until finalize protection has settled network, boot disk and interfaces. */
  finalized: z.boolean(),
  /** Disks the VM had once; their replica disks are there as long as a recovery point names them. */
  formerDisks: z.array(nameSchema).exactOptional(),
  /** Protection was disabled then and the replica kept as it was; nothing is added to it any more. */
  unprotectedAt: isoTimeSchema.exactOptional(),
});
export type ReplicaDescription = z.infer<typeof replicaDescriptionSchema>;

/** Says that what was written of every slice of a disk was read back and had the digests of its record. */
export const verifiedDiskSchema = z.object({ epoch: z.int().min(1), disk: nameSchema, replicaSize: bytes });

export const cycleManifestSchema = z.object({
  ...fenceSchema.shape,
  vm: nameSchema,
  /** When the logs were sealed: the cycle holds every write acknowledged before this instant. */
  sealedAt: isoTimeSchema,
  /** True when the source's exports were closed before the cut, so that nothing can follow. */
  final: z.boolean(),
  /** The guest was frozen when the logs were sealed. */
  appConsistent: z.boolean().exactOptional(),
  /** It was to be, and was not. */
  appConsistentFailure: appConsistentFailureSchema.exactOptional(),
  /** Names that the recovery point of this cycle gets. */
  tags: z.array(z.string()).exactOptional(),
  disks: z.array(
    z.object({
      name: nameSchema,
      /** Virtual size of the source, bytes: a replica of another size refuses the cycle. */
      size: bytes,
      /** The token of the cut it was made from, which says something to its source alone. */
      token: z.string(),
      /** Number of the last write that the cut holds; numbers run on within an epoch. */
      lastWrite: z.int().min(0),
      /** Length of the change files in the store, bytes; 0 when the disk did not change, and then there is none. */
      length: bytes,
      /** Of the change file; of several the digest of their digests, in order. */
      digest: digestSchema.or(z.literal('')),
      /** Bytes of disk content the files carry. */
      dataBytes: bytes,
      ranges: z.int().min(0),
      /** The change files, in the order of what they change. Left out: there is one, `<disk>.changes`. */
      parts: z
        .array(z.object({ length: bytes, digest: digestSchema, dataBytes: bytes, ranges: z.int().min(0) }))
        .min(2)
        .exactOptional(),
    }),
  ),
});
export type CycleManifest = z.infer<typeof cycleManifestSchema>;

export const appliedStateSchema = z.object({
  ...fenceSchema.shape,
  sealedAt: isoTimeSchema,
  final: z.boolean(),
  disks: z.array(z.object({ name: nameSchema, lastWrite: z.int().min(0) })),
});
export type AppliedState = z.infer<typeof appliedStateSchema>;

const damageFoundSchema = z.object({
  epoch: z.int().min(1),
  /** Every point up to this cycle may hold it; left out where the points themselves say so. */
  sequence: z.int().min(0).exactOptional(),
  reason: z.string(),
});
/**
 * Verifications have found the replica damaged: what the newest found, and what was `earlier` found. With the next epoch it
 * is repaired; until then every point that is made may hold it, too.
 */
export const damageSchema = z.object({
  ...damageFoundSchema.shape,
  earlier: z.array(damageFoundSchema).exactOptional(),
});
export type Damage = z.infer<typeof damageSchema>;

export const recoveryPointSchema = z.object({
  ...fenceSchema.shape,
  id: z.string(),
  vm: nameSchema,
  /** The instant the disks are at: the cycle's seal time. */
  time: isoTimeSchema,
  kind: z.enum(['crashConsistent', 'appConsistent']),
  /** Names that administrators gave it. */
  tags: z.array(z.string()).exactOptional(),
  /** Why it may not be what the guest wrote: a verification has found the replica damaged since. */
  suspect: z.string().exactOptional(),
  disks: z.array(
    z.object({
      name: nameSchema,
      snapshot: z.string(),
      /** Virtual size of the source at that time, bytes. */
      size: bytes.exactOptional(),
    }),
  ),
});
export type RecoveryPoint = z.infer<typeof recoveryPointSchema>;

/** Somebody reads, and what is read must stay. */
export const leaseSchema = z.object({
  until: isoTimeSchema,
  /** The point, and what is read of it; everything there is while nothing was chosen yet. */
  of: recoveryPointSchema.pick({ id: true, epoch: true, sequence: true, disks: true }).exactOptional(),
});
export type Lease = z.infer<typeof leaseSchema>;

export const recoveryPointId = (epoch: number, sequence: number): string => cycleName(epoch, sequence);

/** Undefined if this is not the id of a point. */
export function fenceOfPointId(id: string): Fence | undefined {
  const [epoch, sequence] = (/^(\d{4,})-(\d{8,})$/.exec(id) ?? []).slice(1).map(Number);
  return epoch === undefined || sequence === undefined ? undefined : { epoch, sequence };
}

/** A record that can't be used, and why. */
export interface DamagedRecord {
  readonly name: string;
  readonly problem: string;
}

/** Written at a failover and at its commit. One of an older epoch than the fence speaks of what has been undone since. */
export const vaultStateSchema = z.object({
  epoch: z.int().min(1),
  phase: z.enum(['FailedOver', 'Committed']),
  /** The point the replica VM was made from. */
  recoveryPoint: z.string(),
  recoveryPointTime: isoTimeSchema,
  at: isoTimeSchema,
});
export type VaultState = z.infer<typeof vaultStateSchema>;
