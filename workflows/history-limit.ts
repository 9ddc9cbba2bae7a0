/** When a run has grown long enough: then it continues as new. */
import { workflowInfo } from '@temporalio/workflow';
import type { Tuning } from './messages.js';

/**
 * Every workflow task goes through the whole history, as workers keep no workflows in memory: short ones keep that cheap.
 */
const EVENTS = 500;

/** True at that many events, or at the number that a test asks for; or when the server suggests it, for their size. */
export function shouldContinueAsNew(tuning: Tuning | undefined): boolean {
  const { continueAsNewSuggested, historyLength } = workflowInfo();
  return continueAsNewSuggested || historyLength >= (tuning?.continueAsNewAfterEvents ?? EVENTS);
}
