/** The command's exit codes, on which scripts may rely. */
import { CommanderError } from 'commander';
import { CatalogueError, type FailureCode } from '../domain/errors.js';
import { DamagedInstanceError } from '../config/data-folder.js';
import { DocumentError } from '../config/document.js';
import { EncryptionError, UnknownKeyError } from '../temporal/encryption/errors.js';
import { MetricsAddressError } from '../workers/metrics-address.js';
import { ProvisioningError } from '../temporal/server/ways.js';
import { DetachedStartError, JobFailedError, RefusedError, UnreachableError } from './errors.js';

export const exitCodes = {
  ok: 0,
  warning: 1,
  critical: 2,
  refused: 3,
  failed: 4,
  unreachable: 5,
  unexpected: 70,
} as const;

export const exitCodesHelp = `
Exit codes:
  0   done, or started if --wait was not given
  1   status: the worst health is Warning; doctor: a warning
  2   status: the worst health is Critical; doctor: a problem
  3   refused, nothing was changed: bad arguments, site file, plan or Temporal, or not allowed in this state
  4   the job or plan failed, was cancelled, or is stuck until an operator intervenes
  5   Temporal, a worker, the store, a hypervisor or the instance is unreachable
  70  unexpected: a bug (FARSHORE_DEBUG=1 shows where)
  130 interrupted by Ctrl-C while waiting; started jobs continue
With --json, a command that exits with 3 to 70 prints {"version", "error": {"code", "message", "remedy", "exitCode"}} on
standard output, unless it printed its answer. Schema: schemas/error.schema.json`;

/** Shown at the end of a command's help. */
export const exitCodesPointer = '\nExit codes: farshore --help';

/** Failures for which a command was refused: something is missing, in the wrong state, or wrongly configured. */
const answers: ReadonlySet<FailureCode> = new Set([
  'RecoveryPointNotFound',
  'VmNotFound',
  'InvalidReplicaState',
  'InvalidVmState',
  'PrerequisitesNotMet',
  'AuthenticationFailed',
  'AuthorizationFailed',
  'StoreNotFound',
  'StoreUnsuitable',
  'ForeignVault',
  'TlsMismatch',
]);

export function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.refused;
  if (error instanceof RefusedError || error instanceof DocumentError || error instanceof MetricsAddressError)
    return exitCodes.refused;
  if (error instanceof EncryptionError || error instanceof UnknownKeyError) return exitCodes.refused;
  if (error instanceof DetachedStartError) return error.exitCode ?? exitCodes.unexpected;
  if (error instanceof JobFailedError) return exitCodes.failed;
  if (error instanceof UnreachableError || error instanceof ProvisioningError || error instanceof DamagedInstanceError)
    return exitCodes.unreachable;
  // All other catalogue errors that a command can meet mean that something does not answer.
  if (error instanceof CatalogueError) return answers.has(error.code) ? exitCodes.refused : exitCodes.unreachable;
  return exitCodes.unexpected;
}
