/** Restarts protection workflows from the vault if Temporal's database was lost or never contained them. */
import { isDeepStrictEqual } from 'node:util';
import { WorkflowExecutionAlreadyStartedError, WorkflowIdConflictPolicy } from '@temporalio/client';
import { adopt } from '../domain/adopted-item.js';
import { protectedItemId, taskQueues } from '../domain/ids.js';
import { phaseText, type ProtectedItem } from '../domain/protected-item.js';
import { policyOf, vmmServerOf } from '../domain/site.js';
import type { HypervisorAnswer } from '../local/local-site.js';
import type { VaultVm } from '../local/local-vault.js';
import { tuningOfNextRun, type ProtectVmInput } from '../workflows/messages.js';
import type { Farshore } from './farshore.js';

export interface Adopted {
  readonly vm: string;
  readonly phase?: ProtectedItem['phase'];
  /** The policy that the VM keeps, if the site file names a different one for it. */
  readonly policy?: string;
  /** Why the VM must be resynchronized. */
  readonly resync?: string;
  /** Why the VM was skipped. */
  readonly refusal?: string;
}

/**
 * @param found what the vault holds of the VM.
 * @param answer answer of the VM's hypervisor; undefined if the site file does not name the VM.
 */
export async function adoptVm(
  farshore: Farshore,
  found: VaultVm,
  answer: HypervisorAnswer | undefined,
): Promise<Adopted> {
  const { vm } = found;
  const { site } = farshore;
  const siteVm = site.vms.find(({ name }) => name === vm);
  if (!siteVm || !answer) return { vm, refusal: 'not in the site file' };
  const vault = site.vault.name;
  const of = {
    vault,
    vm,
    host: siteVm.host,
    vmmServer: vmmServerOf(site, siteVm.host),
    policy: found.policy ?? policyOf(site, siteVm),
  };
  const tracking = answer.answered && answer.problem === undefined ? (answer.vm?.tracking ?? 'none') : 'unknown';
  const layers = answer.answered ? answer.vm?.failback : undefined;
  const hasLayers = layers !== undefined && !layers.isCommitted;
  const adoption = adopt(of, found, tracking, new Date().toISOString(), hasLayers);
  if ('refusal' in adoption) return { vm, refusal: adoption.refusal };
  const { item } = adoption;
  try {
    await farshore.temporal.workflow.start<(input: ProtectVmInput) => Promise<ProtectedItem>>('protectVm', {
      workflowId: protectedItemId(vault, vm),
      workflowIdConflictPolicy: WorkflowIdConflictPolicy.FAIL,
      taskQueue: taskQueues.azure(vault),
      staticSummary: `Protection of ${vm}, ${phaseText[item.phase]}, adopted from the vault`,
      args: [{ ...of, item, tuning: tuningOfNextRun(undefined) }],
    });
  } catch (error) {
    if (error instanceof WorkflowExecutionAlreadyStartedError) return { vm, refusal: 'already protected' };
    throw error;
  }
  const ofSite = policyOf(site, siteVm);
  const policy = isDeepStrictEqual(of.policy, ofSite) ? undefined : of.policy.name;
  return {
    vm,
    phase: item.phase,
    ...(policy !== undefined && { policy }),
    ...(item.resync && { resync: item.resync.cause }),
  };
}
