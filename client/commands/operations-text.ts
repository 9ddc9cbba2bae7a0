/** The commands that a VM allows now, as a table. */
import type { ProtectedItemView } from '../../domain/item-view.js';
import type { Operation } from '../../domain/operations.js';
import { table } from '../output.js';

const commands = {
  enableProtection: 'protect',
  sync: 'sync',
  retry: 'retry',
  pause: 'pause',
  resume: 'resume',
  setPolicy: 'set-policy',
  resynchronize: 'resynchronize',
  plannedFailover: 'failover --type planned',
  unplannedFailover: 'failover --type unplanned',
  cancelFailover: 'cancel-failover',
  changeRecoveryPoint: 'change-recovery-point',
  commitFailover: 'commit',
  failback: 'failback',
  completeFailback: 'complete-failback',
  cancelFailback: 'cancel-failback',
  reverseReplicate: 'reverse-replicate',
  disableProtection: 'unprotect',
  verifyReplica: 'verify',
  testFailover: 'test-failover',
  cleanupTestFailover: 'cleanup-test-failover',
} satisfies Record<Operation, string>;

const commandOf = (operation: string): string =>
  (commands as Readonly<Record<string, string | undefined>>)[operation] ?? operation;

/**
 * @param isHostAlive whether something on the VM's host answers, so that an unplanned failover asks for the VM's name.
 */
export function operationsText({ operations }: ProtectedItemView, isHostAlive: boolean): string {
  const rows = Object.entries(operations).map(([operation, permission]) => [
    commandOf(operation),
    permission.allowed
      ? isHostAlive && operation === 'unplannedFailover'
        ? 'allowed, but asks for the name of the VM, as its host is not lost'
        : allowedText(permission.waitsFor)
      : `no: ${permission.reason}`,
  ]);
  return table(['COMMAND', 'NOW'], rows);
}

const allowedText = (waitsFor: string | undefined): string =>
  waitsFor === undefined ? 'allowed' : `allowed, but waits for ${waitsFor}`;
