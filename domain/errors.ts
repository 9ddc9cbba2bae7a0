/**
 * The error catalogue: every failure an operator can meet, what it means for replication, and what to do about it.
 * An error that is not in here is a bug and is logged as one.
 */
import { z } from 'zod';

/**
 * - recoverable: tried again by the ladder (1, 2, 4, 8, 10, then every 30 minutes).
 * - needsResync: the change logs no longer describe the difference between source and replica.
 * - nonRecoverable: not tried again; the VM is Critical until an administrator asks for `retry`.
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

const RESYNC_REMEDY = 'The VM must be resynchronized; the recovery points made so far stay usable.';

export const failureCatalogue = {
  // Recoverable: network, disk space, memory, processes that are down.
  AgentNotAnswering: recoverable(
    'The Recovery Services agent on the host is not answering',
    'Start the agent on that host, and the hypervisor if that is down, too: `farshore worker --role host --name HOST`, `farshore hypervisor --host HOST`. End one that hangs first; replication continues by itself.',
  ),
  ProviderNotAnswering: recoverable(
    'The Provider on the VMM server is not answering',
    'Start the Provider of that VMM server: `farshore worker --role vmm --name SERVER`. End one that hangs first; the job continues by itself.',
  ),
  RecoverySideNotAnswering: recoverable(
    'The Azure worker is not answering',
    'Start the Azure worker of the vault: `farshore worker --role azure --name VAULT`. End one that hangs first; the job continues by itself.',
  ),
  WorkerLost: recoverable(
    'The worker stopped in the middle of its work',
    'The work continues from its last checkpoint once a worker answers. A host that does not answer is named within a minute.',
  ),
  WorkerStopped: recoverable(
    'The worker was stopped in the middle of its work',
    'Nothing: the work goes on from its last checkpoint, at once, with the next worker.',
  ),
  HypervisorUnreachable: recoverable(
    'The hypervisor does not answer on its control interface',
    'Start the hypervisor on the host again: `farshore hypervisor --host HOST`. End one that hangs first.',
  ),
  StoreUnreachable: recoverable(
    'The replica store cannot be reached',
    'Check the network and the storage account, or that the folder of the store is mounted.',
  ),
  KnownStoreMissing: recoverable(
    'The replica store is not the one that the vault has',
    'Mount it, or correct `vault.store`. Only if it is lost for good: `farshore up --new-store`, or `farshore prepare --new-store` and, on each other machine, remove the file that knows it. Each VM then has to be unprotected and protected again.',
  ),
  ReplicaMissing: recoverable(
    'The store has no replica of the VM as it is replicated now',
    'Put the right store back where it was: replication continues by itself. If its replica is lost for good, unprotect the VM and protect it again.',
  ),
  StoreBusy: recoverable(
    'Another process does not let go of the replica store',
    'End the process that is named, where one is; it is tried again.',
  ),
  StoreFull: recoverable('The replica store has no space left', 'Free or add space where the store is kept.'),
  SourceDiskFull: recoverable(
    'A volume that holds source disks or their change logs has no space left',
    'Free space on that volume.',
  ),
  LowMemory: recoverable('There is not enough memory', 'Free memory on the machine that reported it.'),
  TemporalUnreachable: recoverable('Temporal cannot be reached', 'Start it, or check its address and the network.'),
  NetworkError: recoverable('A network connection failed', 'Check the network between the sites.'),
  ReadFailed: recoverable('A source disk could not be read', 'Check the volume that holds the disk.'),
  WriteFailed: recoverable('A virtual disk could not be written', 'Check the volume that holds the disk.'),
  UploadDamaged: recoverable(
    'What arrived in the store is not what was sent',
    'Nothing: it is sent again. If it recurs, check the network and the store.',
  ),
  CutGone: recoverable(
    'The source no longer holds what was cut for a cycle',
    'Nothing: it is cut again. If it recurs, find out what removes the snapshots of the VM on its host.',
  ),
  MergeUnfinished: recoverable('The VM snapshot is still being merged', 'Nothing: it is asked again.'),

  // Needs resynchronization.
  ResyncRequired: needsResync('The VM is marked for resynchronization', RESYNC_REMEDY),
  SnapshotGivenUp: needsResync(
    'The VM snapshot that was to be copied or compared was given up, for the guest to go on',
    'Free space on the volume that holds the source disks; what was to be copied is compared and copied anew by itself.',
  ),
  LogBroken: needsResync('A change log is damaged, missing, or belongs to another disk', RESYNC_REMEDY),
  OutOfSequence: needsResync('A change set arrived out of sequence', RESYNC_REMEDY),

  // Non-recoverable: an administrator has to act, then `retry`.
  VmNotFound: nonRecoverable(
    'The VM is not known to the hypervisor',
    'Bring it back to a host of its VMM server, or correct its host in the site file and start `farshore up` anew; then `retry`.',
  ),
  DiskMissing: nonRecoverable('A virtual disk of the VM is missing', 'Put the disk file back where it was.'),
  BrokenChain: nonRecoverable('The virtual disk or its chain is broken', 'Repair the virtual disk.'),
  ForeignDiskFormat: nonRecoverable(
    'The disk file is of another format than raw',
    'Write its format out in the site file: `vhd` for a fixed VHD; convert any other (`qemu-img convert -O raw FILE NEW`). If its bytes are the disk all the same, write `format: raw`.',
  ),
  InvalidReplicaState: nonRecoverable(
    'The replica is not in a state that allows this',
    'Look at the replica in the store; it may have been changed by hand.',
  ),
  RecoveryPointNotFound: nonRecoverable(
    'There is no such recovery point',
    'Choose another one: `farshore vm show` lists them.',
  ),
  ReplicaDiffers: nonRecoverable(
    'The replica was read back and differs from what was sent',
    'Check the storage below the replica store, then `retry`: the differing part is copied again.',
  ),
  StoreNotFound: nonRecoverable(
    'There is no replica store where the configuration says',
    'Correct `vault.store` in the site file, or create the container; nothing is made anew by itself, as it would be empty.',
  ),
  StoreUnsuitable: nonRecoverable(
    'The storage account is of a kind that cannot hold a replica store',
    'Use a general-purpose v2 account without a hierarchical namespace: it takes page blobs and block blobs.',
  ),
  ForeignVault: nonRecoverable(
    'The replica store belongs to another vault',
    'Each vault has a store of its own: correct vault.store, or vault.name, in the site file.',
  ),
  TemporalUnsuitable: nonRecoverable(
    'The Temporal that is configured cannot be used as it is',
    'Correct what is named; `farshore doctor` shows all of it.',
  ),
  TlsMismatch: nonRecoverable(
    'No secure connection could be made',
    'Check that the address, http or https, and the certificate belong together, and that this machine trusts who signed it (NODE_EXTRA_CA_CERTS).',
  ),
  AuthenticationFailed: nonRecoverable(
    'Authentication failed',
    'Correct the credentials in the configuration. A file that holds them is read again (`farshore retry`); for a variable start the worker again.',
  ),
  AuthorizationFailed: nonRecoverable('Permission was denied', 'Grant the missing permission.'),
  StaleEpoch: nonRecoverable(
    'This side has been fenced: someone else has the right to write now',
    'Nothing: a newer failover or resynchronization has taken over.',
  ),
  InvalidVmState: nonRecoverable('The VM is in a state that does not allow this', 'Bring the VM into the named state.'),
  PlanGone: nonRecoverable(
    'The plan run that the job belonged to is gone',
    'Fail the VM over again, by itself or by a new run of the plan.',
  ),
  PrerequisitesNotMet: nonRecoverable('The prerequisites are not met', 'Correct what is named.'),
} as const satisfies Record<string, CatalogueEntry>;

export type FailureCode = keyof typeof failureCatalogue;
const codes = Object.keys(failureCatalogue) as [FailureCode, ...FailureCode[]];
export const failureCodeSchema = z.enum(codes);

/** What is shown and stored of a failure. */
export const failureSchema = z.object({
  code: failureCodeSchema.or(z.literal('Unexpected')),
  class: z.enum(['recoverable', 'needsResync', 'nonRecoverable']),
  message: z.string(),
  remedy: z.string(),
});
export type Failure = z.infer<typeof failureSchema>;

/** Thrown by the engine and the adapters. `detail` says which one, where, and what was expected. */
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

export function toFailure(code: FailureCode, message: string): Failure {
  const entry = failureCatalogue[code];
  return { code, class: entry.class, message, remedy: entry.remedy };
}

/** Why a VM is marked, for somebody who is told already that it is. */
export function resyncCauseOf({ code, message }: Failure): string {
  const known = `${failureCatalogue.ResyncRequired.message}: `;
  return code === 'ResyncRequired' && message.startsWith(known) ? message.slice(known.length) : message;
}

/** A bug, or something nobody has met yet: waits for a person, as retrying blindly could do harm. */
export const unexpectedFailure = (message: string): Failure => ({
  code: 'Unexpected',
  class: 'nonRecoverable',
  message,
  remedy: 'Read the log of the worker that reported it, then `retry`; please report it.',
});
