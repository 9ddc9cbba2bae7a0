/** Two vaults may share a namespace and the names of hosts and VMs: a worker only works for its own vault. */
import { ApplicationFailure } from '@temporalio/common';
import type { ActivityInterceptorsFactory } from '@temporalio/worker';
import type { FailureCode } from '../domain/errors.js';
import { fieldsOfWorkflow } from '../domain/work-fields.js';

const FOREIGN: FailureCode = 'ForeignVault';

/** A request by a workflow of another vault fails before anything is changed. @param vault of this worker. */
export const ownWorkOnly =
  (vault: string): ActivityInterceptorsFactory =>
  ({ info }) => ({
    inbound: {
      execute: async (input, next) => {
        const asked = info.workflowExecution?.workflowId ?? '';
        const { vault: theirs } = fieldsOfWorkflow(asked);
        if (theirs === undefined || theirs === vault) return await next(input);
        throw ApplicationFailure.nonRetryable(
          `${asked} belongs to vault ${theirs}, but this worker belongs to vault ${vault}`,
          FOREIGN,
        );
      },
    },
  });
