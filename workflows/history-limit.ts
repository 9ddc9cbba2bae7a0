/** When a run has grown long enough: then it continues as new. */
import { workflowInfo } from '@temporalio/workflow';
import type { Tuning } from './messages.js';

/** A worker that starts goes through the histories of all workflows: short ones keep that cheap, about 1 ms an event. */
const EVENTS = 1_000;

/** True at that many events, or at the number that a test asks for; or when the server suggests it, for their size. */
export function shouldContinueAsNew(tuning: Tuning | undefined): boolean {
  const { continueAsNewSuggested, historyLength } = workflowInfo();
  return continueAsNewSuggested || historyLength >= (tuning?.continueAsNewAfterEvents ?? EVENTS);
}
