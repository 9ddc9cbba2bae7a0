/** Adds the VM and its work to every log line and metric of an activity. */
import type { ActivityInterceptorsFactory } from '@temporalio/worker';
import { fieldsOfInput, fieldsOfWorkflow, type WorkFields } from '../domain/work-fields.js';

/** @param worker fields that are the same for all work of this worker: its vault; for an agent, its host. */
export const workInterceptor =
  (worker: Pick<WorkFields, 'vault' | 'host'>): ActivityInterceptorsFactory =>
  ({ info }) => {
    // A job's id says more than the input, and the input is unknown before the activity begins.
    let fields: WorkFields = fieldsOfWorkflow(info.workflowExecution?.workflowId ?? '');
    return {
      inbound: {
        execute: async (input, next) => {
          fields = { ...fieldsOfInput(input.args[0]), ...fields };
          return await next(input);
        },
      },
      outbound: {
        getLogAttributes: (attributes, next) => next({ ...attributes, ...fields, ...worker }),
        getMetricTags: (tags, next) => {
          const { vm } = fields;
          return next({ ...tags, ...worker, ...(vm !== undefined && { vm }) });
        },
      },
    };
  };
