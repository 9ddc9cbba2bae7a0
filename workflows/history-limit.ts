/**
 * When a run has grown long enough: then it continues as new.
 *
 * A task that issues no command is not always gone through by itself again: a replay takes it together with the next, when
 * nothing but a refused update was the reason for that one. What is read of the task then, its history's length or its
 * time, is the later one's. So the length is looked at only where the same task issues a command, which keeps it a task
 * of its own; what comes between two looks is counted, as whatever is counted comes again. (A clock that is read may be
 * kept only in what the memo shows, and so with a command.)
 */
import { workflowInfo } from '@temporalio/workflow';
import { tuningOfNextRun, type Tuning } from './messages.js';

/** Of runs whose input says none, in events. Their histories go by it, so it never changes; see HISTORY_LIMIT. */
const UNSAID_LIMIT = 1_000;
/** Events that come with a message at most, those of its task included. */
const EVENTS_OF_MESSAGE = 5;
/** Of one that is not looked at. */
const EVENTS_OF_COMMAND = 1;
/** Events that come with a timer at most, likewise. */
const EVENTS_OF_TIMER = 5;

/** Loaded per run, as all modules of workflows are. */
let limit = UNSAID_LIMIT;
/** As it was at the last look, and when something was counted. */
let isLong = false;
let length = 0;
let counted = 0;
/** In the task under way, perhaps. */
let isLocalWorkDone = false;

/** The first that a run does. @param tuning of it. */
export function limitHistory(tuning: Tuning | undefined): void {
  limit = tuning?.continueAsNewAfterEvents ?? tuning?.historyLimit ?? UNSAID_LIMIT;
}

/**
 * True at that many events, or at the number that a test asks for; when the server suggests it, for their size; or when
 * somebody has asked for it. In a condition, too.
 */
export const shouldContinueAsNew = (): boolean => isLong;

/** The task under way issues a command, for certain: one that it takes back is none. */
export function commandIsIssued(): void {
  if (isLocalWorkDone) return count(EVENTS_OF_COMMAND);
  const { continueAsNewSuggested, historyLength } = workflowInfo();
  [length, counted] = [historyLength, 0];
  // A run that was to end once is not to go on: whoever was interrupted by it would find no reason.
  isLong ||= continueAsNewSuggested || historyLength >= limit;
}

/**
 * What the worker of the workflow has done itself has ended. Where that took long, the task that hears of it may be a later
 * one than in a replay, where the outcome is known at once: until the next activity is scheduled the length is not looked at.
 */
export const localWorkEnds = (): void => void (isLocalWorkDone = true);
/** For certain, and nothing local has been done in the task under way. */
export function activityIsScheduled(): void {
  isLocalWorkDone = false;
  commandIsIssued();
}

export const messageHasCome = (): void => count(EVENTS_OF_MESSAGE);
export const timerIsStarted = (): void => count(EVENTS_OF_TIMER);

/** Long or not. */
export function continueWhenPossible(): void {
  isLong = true;
}

/** What a run was told goes on to the next, also what this code does not know. */
export const inputOfNextRun = <I extends { readonly tuning?: Tuning | undefined }>(
  input: I,
): I & { tuning: Tuning } => ({
  ...input,
  tuning: tuningOfNextRun(input.tuning),
});

function count(events: number): void {
  counted += events;
  isLong ||= length + counted >= limit;
}
