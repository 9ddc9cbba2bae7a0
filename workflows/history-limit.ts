/** When a run has grown long enough: then it continues as new. */
import { workflowInfo } from '@temporalio/workflow';
import type { Tuning } from './messages.js';

/** True once the server suggests it, or at the number of events that a test asks for. */
export function shouldContinueAsNew(tuning: Tuning | undefined): boolean {
  const { continueAsNewSuggested, historyLength } = workflowInfo();
  return continueAsNewSuggested || historyLength >= (tuning?.continueAsNewAfterEvents ?? Infinity);
}
