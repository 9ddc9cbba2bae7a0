/**
 * The Azure worker's part in the board of its vault: it keeps the workflow that shows the board running, and looks for
 * it.
 */
import { WorkflowIdConflictPolicy, type Client } from '@temporalio/client';
import type { Heard } from '../domain/board.js';
import { taskQueues, vaultBoardId } from '../domain/ids.js';
import type { Site } from '../domain/site.js';
import { tuningOfNextRun } from '../workflows/messages.js';
import type { showVault } from '../workflows/show-vault.js';
import type { DataFolder } from '../config/data-folder.js';
import { LocalSite } from '../local/local-site.js';
import { readHeldReplicas } from '../local/local-vault.js';
import { sourcesToAsk } from '../local/sources-to-ask.js';
import { runningOverview } from '../temporal/running-overview.js';
import { silentProviders } from '../temporal/silent-providers.js';
import { withUntoldSilence } from '../temporal/untold-silence.js';

/** Time limit for Temporal's answers, ms. */
const ANSWER_TIMEOUT_MS = 10_000;

/** Starts it if it is not running. @throws the errors of the client. */
export async function startVaultBoard({ workflow }: Client, vault: string): Promise<void> {
  await workflow.start<typeof showVault>('showVault', {
    workflowId: vaultBoardId(vault),
    taskQueue: taskQueues.azure(vault),
    args: [{ vault, tuning: tuningOfNextRun(undefined) }],
    workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING,
    staticSummary: `The board of vault ${vault}`,
  });
}

/**
 * @throws the errors of the client. If the store does not answer, no replicas are reported; the VMs themselves show
 * that.
 */
export async function heardOfVault(client: Client, site: Site, data: DataFolder): Promise<Heard> {
  const { vault } = site;
  const overview = await client.withDeadline(Date.now() + ANSWER_TIMEOUT_MS, () => runningOverview(client, vault.name));
  const local = new LocalSite(site, data);
  const hypervisorAnswers = (host: string) => local.hypervisorAnswers(host, false);
  const items = await withUntoldSilence({ temporal: client, vault: vault.name, hypervisorAnswers }, overview.items);
  const siteVms = site.vms.map(({ name }) => name);
  // The order matters: if a replica VM is deleted meanwhile, the store knows it.
  const replicaVms = await local.replicaStates();
  const held = await readHeldReplicas(vault, [...overview.items.keys()]).catch(() => undefined);
  const sourceVms = await local.sourceStates(sourcesToAsk(site, items, held ?? []));
  const silent = await silentProviders(client, vault.name, items);
  return { vault: vault.name, siteVms, ...overview, items, held, replicaVms, sourceVms, silentProviders: silent };
}
