/** The workflow types of the worker: each function exported here is one. */
export { protectVm } from './protect-vm.js';
export { showVault } from './show-vault.js';
export { previewJob } from './preview-job.js';
export { hostWatch } from './host-watch.js';
export { enableProtection } from './enable-protection.js';
export { initialReplication } from './initial-replication.js';
export { finalizeProtection } from './finalize-protection.js';
export { resynchronize } from './resynchronize.js';
export { plannedFailover } from './planned-failover.js';
export { unplannedFailover } from './unplanned-failover.js';
export { cancelFailover } from './cancel-failover.js';
export { changeRecoveryPoint } from './change-recovery-point.js';
export { commitFailover } from './commit-failover.js';
export { disableProtection } from './disable-protection.js';
export { verifyReplica } from './verify-replica.js';
export { runRecoveryPlan } from './run-recovery-plan.js';
