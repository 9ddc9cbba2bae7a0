/** Fields of a VM that several answers share. */
import type { ProtectedItem } from '../../domain/protected-item.js';
import type { HypervisorVm } from '../../local/local-site.js';

/** The running job. */
export function runningJob({ job }: Pick<ProtectedItem, 'job'>) {
  if (!job) return undefined;
  const { jobId, kind, startedAt, task, progress, retry } = job;
  return { jobId, kind, startedAt, task, progress, retry };
}

export const replicaVm = ({ name, state, guest, hardware, disks }: HypervisorVm) => ({
  vm: name,
  power: state,
  guest,
  hardware,
  disks,
});
