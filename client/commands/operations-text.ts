/** What may be asked of a VM now, as a table. */
import type { ProtectedItemView } from '../../domain/item-view.js';
import { table } from '../output.js';

export function operationsText({ operations }: ProtectedItemView): string {
  const rows = Object.entries(operations).map(([operation, permission]) => [
    operation,
    permission.allowed ? allowedText(permission.waitsFor) : `no: ${permission.reason}`,
  ]);
  return table(['OPERATION', 'NOW'], rows);
}

const allowedText = (waitsFor: string | undefined): string =>
  waitsFor === undefined ? 'allowed' : `allowed, but waits for ${waitsFor}`;
