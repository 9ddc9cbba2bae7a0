/**
 * What the vault keeps in the replica store, object by object. The store describes itself: everything here can be read
 * and understood without Temporal.
 *
 * Layout, all names relative to the store:
 *   vms/<vm>/description.json            the VM as it will be created at failover
 *   vms/<vm>/disks/<disk>.vhd            the replica at the newest applied state, if disks are page blobs (sites/vhd-disks.ts)
 *   vms/<vm>/seed/<epoch>/<disk>/<n>.digests  of slice n of the initial copy; 64 existing ones are packed into <first>-<last>.pack
 *   vms/<vm>/resync/<epoch>/<disk>/<n>.digests  of the replica's blocks at the start of a resynchronization, or of an
 *                                        original disk's at the start of a failback; packed likewise
 *   vms/<vm>/verified/<epoch>/<disk>.json  the initial copy of the disk was read back and found equal
 *   vms/<vm>/verify/<cycle>/<disk>/<n>.digests  of the replica's blocks at a cycle, during a verification
 *   vms/<vm>/cycles/<cycle>/<disk>.changes  one disk's change set; of an epoch after the description's: of a failback
 *   vms/<vm>/cycles/<cycle>/<disk>/<n>.changes  the same in parts, if it is large
 *   vms/<vm>/cycles/<cycle>/<disk>/<n>.json  confirms that the part exists and was read back
 *   vms/<vm>/cycles/<cycle>/manifest.json   written last: the cycle exists once the manifest does
 *   vms/<vm>/applied.json                the newest cycle that every replica disk holds
 *   vms/<vm>/points/<point>.json         recovery points
 *   vms/<vm>/point-index.json            copies of most of these records, in one object
 *   vms/<vm>/leases/<id>.json            protects data from deletion while it is being read
 *   vms/<vm>/leases/test-failover.json   the recovery point that a test VM runs from, until it is cleaned up
 *   vms/<vm>/policy.json                 the VM's replication policy
 *   vms/<vm>/state.json                  the site at which the VM runs, and the epoch in which that was decided
 *   jobs/<...>.json                      records of finished jobs
 *   jobs/evidence/<vm>/<job>/<file>      console and screen of a test VM
 *   vault/owner.json                     the name of the vault whose store this is
 *   <scope>/second/<...>                 second copy of a record on which others depend; the scope is `vms/<vm>` or `vault`
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
  /** Among the leases, so that pruning finds both with one request. */
  testHold: (vm: string) => `vms/${vm}/leases/test-failover.json`,
  lease: (vm: string, id: string) => `vms/${vm}/leases/${id}.json`,
  point: (vm: string, point: string) => `vms/${vm}/points/${point}.json`,
  /** Names below `jobs/`, whose fence never rises. */
  evidence: (vm: string, job: string, file: string) => `jobs/evidence/${vm}/${job}/${file}`,
  allEvidence: (vm: string) => `jobs/evidence/${vm}/`,
  jobs: (vm: string) => `jobs/job/${vm}/`,
  allJobs: 'jobs/job/',
  /** The store belongs to one vault, so the vault's name is left out of the ID. */
  jobRecord: (jobId: string) => `jobs/${jobId.replace(/^job\/[^/]+(?=(\/[^/]+){3}$)/, 'job')}.json`,
  ownerScope: 'vault',
  owner: 'vault/owner.json',
  /**
   * The second copy of a record in the scope `vms/<vm>` or `vault`; also maps a prefix to the prefix of the second
   * copies.
   */
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
      /** Virtual size of the replica: the source's, rounded up to 1 MiB, which Azure requires. */
      replicaSize: bytes,
    }),
  ),
  networkAdapters: z.array(z.object({ name: nameSchema, network: nameSchema, subnet: nameSchema })),
  /** The source VM's hardware, as its hypervisor reported it when the replica was begun or last resynchronized. */
  hardware: hardwareSchema.exactOptional(),
  /** False until finalize protection has set network, boot disk and interfaces. */
  finalized: z.boolean(),
  /** Disks that the VM had earlier; their replica disks are kept as long as a recovery point names them. */
  formerDisks: z.array(nameSchema).exactOptional(),
  /** When protection ended and the replica was kept unchanged; nothing more is added to it. */
  unprotectedAt: isoTimeSchema.exactOptional(),
});
export type ReplicaDescription = z.infer<typeof replicaDescriptionSchema>;

/** Confirms that every slice of the disk's copy was read back and matched the digests of its record. */
export const verifiedDiskSchema = z.object({ epoch: z.int().min(1), disk: nameSchema, replicaSize: bytes });

export const cycleManifestSchema = z.object({
  ...fenceSchema.shape,
  vm: nameSchema,
  /** When the logs were sealed: the cycle holds every write acknowledged before this instant. */
  sealedAt: isoTimeSchema,
  /** True when the source's exports were closed before the cut, so that nothing can follow. */
  final: z.boolean(),
  /** True if the guest was frozen when the logs were sealed. */
  appConsistent: z.boolean().exactOptional(),
  /** Why the cycle is not app-consistent although that was requested. */
  appConsistentFailure: appConsistentFailureSchema.exactOptional(),
  /** Names that the recovery point of this cycle gets. */
  tags: z.array(z.string()).exactOptional(),
  disks: z.array(
    z.object({
      name: nameSchema,
      /** Virtual size of the source, bytes: a replica of another size refuses the cycle. */
      size: bytes,
      /** The token of the cut from which it was made; it has a meaning only to the source. */
      token: z.string(),
      /** Number of the last write in the cut; numbers continue from cycle to cycle within an epoch. */
      lastWrite: z.int().min(0),
      /** Total length of the change files in the store, bytes; 0 if the disk did not change: there is no file then. */
      length: bytes,
      /** Digest of the change file; if there are several, the digest of their digests, in order. */
      digest: digestSchema.or(z.literal('')),
      /** Bytes of disk content in the files. */
      dataBytes: bytes,
      ranges: z.int().min(0),
      /** The change files, in disk order. Absent if there is a single file, `<disk>.changes`. */
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
  /** Every point up to this cycle may share the damage; absent if the points themselves record it. */
  sequence: z.int().min(0).exactOptional(),
  reason: z.string(),
});
/**
 * Verifications have found the replica damaged: the newest finding, and the `earlier` ones. The next epoch repairs the
 * damage; until then, every new point may share it too.
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
  /** The instant of the disks' state: the cycle's seal time. */
  time: isoTimeSchema,
  kind: z.enum(['crashConsistent', 'appConsistent']),
  /** Names that operators gave it. */
  tags: z.array(z.string()).exactOptional(),
  /** Why the point may not match what the guest wrote: a verification has found the replica damaged since. */
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

/** Protects data from deletion while it is being read. */
export const leaseSchema = z.object({
  until: isoTimeSchema,
  /** The point, and which of its parts are read; absent while no point is chosen yet: everything is protected. */
  of: recoveryPointSchema.pick({ id: true, epoch: true, sequence: true, disks: true }).exactOptional(),
});
export type Lease = z.infer<typeof leaseSchema>;

/** Protects the recovery point that a test VM runs from until the test failover is cleaned up. */
export const testHoldSchema = z.object({
  testVm: z.string(),
  /** The job that made it. */
  jobId: z.string(),
  since: isoTimeSchema,
  of: recoveryPointSchema.pick({ id: true, epoch: true, sequence: true, time: true, disks: true }),
});
export type TestHold = z.infer<typeof testHoldSchema>;

export const recoveryPointId = (epoch: number, sequence: number): string => cycleName(epoch, sequence);

/** Undefined if this is not the id of a point. */
export function fenceOfPointId(id: string): Fence | undefined {
  const [epoch, sequence] = (/^(\d{4,})-(\d{8,})$/.exec(id) ?? []).slice(1).map(Number);
  return epoch === undefined || sequence === undefined ? undefined : { epoch, sequence };
}

/** A record that can't be used, and why it can't. */
export interface DamagedRecord {
  readonly name: string;
  readonly problem: string;
}

/**
 * Written at a failover and at its commit. A state with an older epoch than the fence describes a failover that was
 * undone since.
 */
export const vaultStateSchema = z.object({
  epoch: z.int().min(1),
  phase: z.enum(['FailedOver', 'Committed']),
  /** The point from which the replica VM was made. */
  recoveryPoint: z.string(),
  recoveryPointTime: isoTimeSchema,
  at: isoTimeSchema,
});
export type VaultState = z.infer<typeof vaultStateSchema>;
