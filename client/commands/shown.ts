/** Fields of a VM that several answers share. */
import type { Drill } from '../../domain/drill.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import type { HypervisorVm } from '../../local/local-site.js';

/** The running job. */
export function runningJob({ job }: Pick<ProtectedItem, 'job'>) {
  if (!job) return undefined;
  const { jobId, kind, startedAt, task, progress, retry } = job;
  return { jobId, kind, startedAt, task, progress, retry };
}

/** The test failover that exists. */
export function testFailoverValue({ testVm, since, job, requested, tested, reason, problem, cleanUpAt }: Drill) {
  const { recoveryPoint, network, booted, passed } = tested ?? {};
  const jobId = (job ?? requested)?.jobId;
  return {
    ...{ testVm, since, jobId, reason, network, booted, passed, cleanUpAt },
    recoveryPoint: recoveryPoint?.id,
    recoveryPointTime: recoveryPoint?.time,
    problem: problem ?? tested?.problem,
  };
}

export const replicaVm = ({
  name,
  testOf,
  state,
  guest,
  hardware,
  disks,
}: HypervisorVm & { readonly testOf?: string }) => ({
  vm: name,
  testOf,
  power: state,
  guest,
  hardware,
  disks,
});
