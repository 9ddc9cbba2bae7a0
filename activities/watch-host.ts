/** The agent's look at its own host. */
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import { CatalogueError, toFailure } from '../domain/errors.js';
import { sameHostState, type HostState } from '../domain/host.js';
import type { Hypervisor } from '../sites/ports.js';

export const hostActivities = (hypervisor: Hypervisor) => ({
  /**
   * Returns only what is new. While nothing is, it fails on purpose: the server calls it again after a while, which
   * leaves no event in the history of whoever waits, however long.
   * @throws ApplicationFailure Unchanged, retryable
   */
  async watchHost({ known }: { known?: HostState }): Promise<HostState> {
    const state = await stateOf(hypervisor, known);
    if (known && sameHostState(known, state)) {
      throw ApplicationFailure.create({
        type: 'Unchanged',
        message: 'Nothing is new on this host; it is looked at again in a while',
        category: ApplicationFailureCategory.BENIGN,
      });
    }
    return state;
  },
});

async function stateOf(hypervisor: Hypervisor, known: HostState | undefined): Promise<HostState> {
  try {
    const stopped: HostState['stopped'] = {};
    for (const { name, tracking } of await hypervisor.listVms()) {
      if (tracking?.resyncCause !== undefined) stopped[name] = { epoch: tracking.epoch, cause: tracking.resyncCause };
    }
    return { stopped };
  } catch (error) {
    if (!(error instanceof CatalogueError)) throw error;
    return { failure: toFailure(error.code, error.message), stopped: known?.stopped ?? {} };
  }
}
