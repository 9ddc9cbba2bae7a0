/**
 * The error catalogue: every failure an operator can meet, its effect on replication, and the remedy.
 * An error that is not in here is a bug and is logged as one.
 */
import { z } from 'zod';

/**
 * - recoverable: retried by the ladder (1, 2, 4, 8, 10, then every 30 minutes).
 * - needsResync: the change logs no longer describe the difference between source and replica.
 * - nonRecoverable: not retried; the VM is Critical until an operator runs `retry`.
 */
export type FailureClass = 'recoverable' | 'needsResync' | 'nonRecoverable';

interface CatalogueEntry {
  readonly class: FailureClass;
  readonly message: string;
  readonly remedy: string;
}

const recoverable = (message: string, remedy: string): CatalogueEntry => ({ class: 'recoverable', message, remedy });
const needsResync = (message: string, remedy: string): CatalogueEntry => ({ class: 'needsResync', message, remedy });
const nonRecoverable = (message: string, remedy: string): CatalogueEntry => ({
  class: 'nonRecoverable',
  message,
  remedy,
});

const RESYNC_REMEDY =
  'The VM needs a resynchronization, which starts automatically in its window. Its existing recovery points stay usable.';

export const failureCatalogue = {
  // Recoverable: network, disk space, memory, processes that are down.
  AgentNotAnswering: recoverable(
    'The Recovery Services agent on the host is not answering',
    'Restart the agent on that host (`farshore worker --role host --name HOST`) and, if it is down too, the hypervisor (`farshore hypervisor --host HOST`). If the old process hangs, end it first. Replication then resumes automatically.',
  ),
  ProviderNotAnswering: recoverable(
    'The Provider on the VMM server is not answering',
    'Restart the Provider of that VMM server: `farshore worker --role vmm --name SERVER`. If the old process hangs, end it first. The job then resumes automatically.',
  ),
  RecoverySideNotAnswering: recoverable(
    'The Azure worker is not answering',
    'Restart the Azure worker of the vault: `farshore worker --role azure --name VAULT`. If the old process hangs, end it first. The job then resumes automatically.',
  ),
  WorkerLost: recoverable(
    'The worker stopped in the middle of its work',
    'The work resumes from its last checkpoint once a worker answers. If a host is not answering, it is named within a minute.',
  ),
  WorkerStopped: recoverable(
    'The worker was stopped in the middle of its work',
    'Nothing to do: the next worker resumes the work from its last checkpoint immediately.',
  ),
  HypervisorUnreachable: recoverable(
    'The hypervisor does not answer on its control interface',
    'Restart the hypervisor on the host: `farshore hypervisor --host HOST`. If the old process hangs, end it first.',
  ),
  StoreUnreachable: recoverable(
    'The replica store cannot be reached',
    'For a storage account, check the account and the network; for a folder, check that it is mounted.',
  ),
  KnownStoreMissing: recoverable(
    'The replica store is not the one that this vault has used so far',
    'Mount the right store, or correct `vault.store`. Only if the store is lost for good: `farshore up --new-store`, or `farshore prepare --new-store` and, on each other machine, delete the file that remembers the old store. Then unprotect and protect each VM again.',
  ),
  ReplicaMissing: recoverable(
    'The store has no replica that matches the current protection of the VM',
    'Put the right store back where it was; replication then resumes automatically. If the replica is lost for good, unprotect the VM and protect it again.',
  ),
  StoreBusy: recoverable(
    'Another process keeps the replica store locked',
    'If the message names a process that should not run, end it. Farshore retries automatically.',
  ),
  StoreFull: recoverable(
    'The replica store has no space left',
    'Free space on the volume that holds the store, or enlarge it.',
  ),
  SourceDiskFull: recoverable(
    'A volume that holds source disks or their change logs has no space left',
    'Free space on that volume.',
  ),
  LowMemory: recoverable('There is not enough memory', 'Free memory on the machine that reported it.'),
  TemporalUnreachable: recoverable(
    'Temporal cannot be reached',
    'Start Temporal, or check its address and the network.',
  ),
  NetworkError: recoverable('A network connection failed', 'Check the network between the sites.'),
  ReadFailed: recoverable('A source disk could not be read', 'Check the volume that holds the disk.'),
  WriteFailed: recoverable('A virtual disk could not be written', 'Check the volume that holds the disk.'),
  UploadDamaged: recoverable(
    'Data that arrived in the store differs from the data sent',
    'Nothing to do: the data is sent again automatically. If it recurs, check the network and the store.',
  ),
  MergeUnfinished: recoverable(
    'The VM snapshot is still being merged',
    'Nothing to do: Farshore checks again automatically.',
  ),
  CutGone: recoverable(
    'The source no longer holds the cut of a cycle',
    'Nothing to do: the cycle is cut again automatically. If it recurs, find out what removes the snapshots of the VM on its host.',
  ),

  // Needs resynchronization.
  ResyncRequired: needsResync('The VM is marked for resynchronization', RESYNC_REMEDY),
  SnapshotGivenUp: needsResync(
    'The VM snapshot being copied or compared was dropped so that the guest could keep writing',
    'Free space on the volume that holds the source disks. A copy is then repeated automatically, as a resynchronization.',
  ),
  LogBroken: needsResync('A change log is damaged, missing, or belongs to another disk', RESYNC_REMEDY),
  OutOfSequence: needsResync('A change set arrived out of sequence', RESYNC_REMEDY),

  // Non-recoverable: an operator fixes the cause, then runs `retry`.
  VmNotFound: nonRecoverable(
    'The hypervisor does not know the VM',
    'Move the VM back to a host of its VMM server, or correct its host in the site file and restart `farshore up`. Then run `farshore retry`.',
  ),
  DiskMissing: nonRecoverable('A virtual disk of the VM is missing', 'Put the disk file back where it was.'),
  BrokenChain: nonRecoverable('The virtual disk or its chain is broken', 'Repair the virtual disk.'),
  ForeignDiskFormat: nonRecoverable(
    'The disk file does not look like a raw disk',
    'For a fixed VHD, set `format: vhd` in the site file. Convert any other format (`qemu-img convert -O raw FILE NEW`). If the file is a raw disk after all, set `format: raw`.',
  ),
  InvalidReplicaState: nonRecoverable(
    'The replica is not in a state that allows this',
    'Check the replica in the store; someone may have changed it by hand.',
  ),
  RecoveryPointNotFound: nonRecoverable(
    'There is no such recovery point',
    'Choose another recovery point: `farshore vm show` lists them.',
  ),
  ReplicaDiffers: nonRecoverable(
    'The replica, read back from the store, differs from the data sent',
    'Check the storage below the replica store, then run `farshore retry`: the differing part is copied again.',
  ),
  StoreNotFound: nonRecoverable(
    'There is no replica store at the configured place',
    'Correct `vault.store` in the site file, or create the container. Farshore does not create a new store in place of an existing one, as it would be empty.',
  ),
  StoreUnsuitable: nonRecoverable(
    'The storage account is of a kind that cannot hold a replica store',
    'Use a general-purpose v2 account without a hierarchical namespace: it supports page blobs and block blobs.',
  ),
  ForeignVault: nonRecoverable(
    'The replica store belongs to another vault',
    'Each vault needs its own store: correct `vault.store` or `vault.name` in the site file.',
  ),
  TemporalUnsuitable: nonRecoverable(
    'The configured Temporal server or namespace cannot be used',
    'Correct the setting named in the message; `farshore doctor` lists everything that needs correcting.',
  ),
  TlsMismatch: nonRecoverable(
    'No secure connection could be made',
    'Check that the address, its scheme (http or https) and the certificate match, and that this machine trusts the authority that signed the certificate (NODE_EXTRA_CA_CERTS).',
  ),
  AuthenticationFailed: nonRecoverable(
    'Authentication failed',
    'Correct the credentials in the configuration. If they are in a file, run `farshore retry`; if they are in an environment variable, restart the worker.',
  ),
  AuthorizationFailed: nonRecoverable('Permission was denied', 'Grant the missing permission.'),
  StaleEpoch: nonRecoverable(
    'This side has been fenced: another writer now has the right to write',
    'Nothing to do: a newer failover or resynchronization has taken over.',
  ),
  InvalidVmState: nonRecoverable(
    'The VM is in a state that does not allow this',
    'Bring the VM into the state named in the message.',
  ),
  PlanGone: nonRecoverable(
    'The plan run that the job belonged to no longer exists',
    'Fail the VM over again, individually or with a new run of the plan.',
  ),
  PrerequisitesNotMet: nonRecoverable(
    'The prerequisites are not met',
    'Correct the prerequisites named in the message.',
  ),
} as const satisfies Record<string, CatalogueEntry>;

export type FailureCode = keyof typeof failureCatalogue;
const codes = Object.keys(failureCatalogue) as [FailureCode, ...FailureCode[]];
export const failureCodeSchema = z.enum(codes);

/** The part of replication in which a step runs; it decides what a worker that does not answer is called. */
export const sideSchema = z.enum(['source', 'sourceFabric', 'target']);
export type Side = z.infer<typeof sideSchema>;

/** How far a step had come, bytes: by this, a retry can tell whether the step makes progress. */
const checkpointSchema = z.object({ bytesDone: z.number() });
export type Checkpoint = z.infer<typeof checkpointSchema>;

/**
 * The details of a failed activity's failure, beside code and message; its heartbeats carry the checkpoint in the same
 * shape.
 */
export const failureDetailsSchema = checkpointSchema.partial().extend({ detail: z.string().optional() });
export type FailureDetails = z.infer<typeof failureDetailsSchema>;

/** A failure, as it is shown and stored. */
export const failureSchema = z.object({
  code: failureCodeSchema.or(z.literal('Unexpected')),
  class: z.enum(['recoverable', 'needsResync', 'nonRecoverable']),
  message: z.string(),
  remedy: z.string(),
  /** The message without the catalogue's text for the code. */
  detail: z.string().optional(),
  side: sideSchema.optional(),
  checkpoint: checkpointSchema.optional(),
});
export type Failure = z.infer<typeof failureSchema>;

/** Thrown by the engine and the adapters. `detail` names the object and what was expected. */
export class CatalogueError extends Error {
  override readonly name = 'CatalogueError';
  constructor(
    readonly code: FailureCode,
    readonly detail: string,
    options?: ErrorOptions,
  ) {
    super(`${failureCatalogue[code].message}: ${detail}`, options);
  }
}

export function toFailure(
  code: FailureCode,
  message: string = failureCatalogue[code].message,
  more: Pick<Failure, 'detail' | 'side' | 'checkpoint'> = {},
): Failure {
  const entry = failureCatalogue[code];
  return { code, class: entry.class, message, remedy: entry.remedy, ...more };
}

/** Why a VM is marked, for a text that already says that it is marked. */
export const resyncCauseOf = ({ code, message, detail = message }: Failure): string =>
  code === 'ResyncRequired' ? detail : message;

/** A bug, or a failure not seen before. It waits for an operator, because retrying blindly could do harm. */
export const unexpectedFailure = (message: string): Failure => ({
  code: 'Unexpected',
  class: 'nonRecoverable',
  message,
  remedy: 'Read the log of the worker that reported it, then run `farshore retry`. Please report this error.',
});
