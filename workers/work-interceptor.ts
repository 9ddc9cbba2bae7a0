/** Says with every line of the log, and every metric, of an activity which VM's work it belongs to. */
import type { ActivityInterceptorsFactory } from '@temporalio/worker';
import { fieldsOfInput, fieldsOfWorkflow, type WorkFields } from '../domain/work-fields.js';

/** @param worker what is so of all that this worker does: its vault; its host, when it is an agent. */
export const workInterceptor =
  (worker: Pick<WorkFields, 'vault' | 'host'>): ActivityInterceptorsFactory =>
  ({ info }) => {
    // Of a job the id says more than the input, and that is not known before the activity begins.
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
