/**
 * Adds the VM and its work to every line that a workflow logs. This is not a workflow: the bundle loads it as an
 * interceptor. It changes nothing that is replayed.
 */
import { workflowInfo, type WorkflowInterceptors } from '@temporalio/workflow';
import type { ProtectedItem } from '../domain/protected-item.js';
import { fieldsOfInput, fieldsOfItem, fieldsOfWorkflow, type WorkFields } from '../domain/work-fields.js';
import type { MemoKey } from './messages.js';

const ITEM: MemoKey = 'protectedItem';

export const interceptors = (): WorkflowInterceptors => {
  let told: WorkFields = {};
  return {
    inbound: [
      {
        execute: async (input, next) => {
          told = fieldsOfInput(input.args[0]);
          return await next(input);
        },
      },
    ],
    outbound: [
      {
        getLogAttributes: (attributes, next) => {
          const { workflowId, memo } = workflowInfo();
          const item = memo?.[ITEM] as ProtectedItem | undefined;
          return next({ ...attributes, ...told, ...fieldsOfWorkflow(workflowId), ...(item && fieldsOfItem(item)) });
        },
      },
    ],
  };
};
