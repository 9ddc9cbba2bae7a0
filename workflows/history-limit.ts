/**
 * Decides when a run's history is so long that the run continues as new.
 *
 * Replay does not always process a task that issues no command separately: it merges it with the next task if that one
 * was scheduled only for an update that was refused. The history length and the time that such a task reads are then
 * those of the later task. So the length is read only in a task that issues a command, because the command keeps it a
 * separate task. Messages and timers between two such tasks are counted instead, because a replay repeats them. (The
 * time may be read and kept only in state that the memo shows, which is a command.)
 */
import { workflowInfo } from '@temporalio/workflow';
import { tuningOfNextRun, type Tuning } from './messages.js';

/**
 * The limit of runs whose input names none, in events. Their histories depend on it, so it must never change; see
 * HISTORY_LIMIT.
 */
const UNSAID_LIMIT = 1_000;
/** The most events that come with a message, including those of its task. */
const EVENTS_OF_MESSAGE = 5;
/** Events of a command at which the length is not read. */
const EVENTS_OF_COMMAND = 1;
/** The most events that come with a timer, including those of its task. */
const EVENTS_OF_TIMER = 5;

/** Each run has its own, because all workflow modules are loaded per run. */
let limit = UNSAID_LIMIT;
/** Updated whenever the length is read or events are counted. */
let isLong = false;
let length = 0;
let counted = 0;
/** Whether local work may have ended in the current task. */
let isLocalWorkDone = false;

/** Every run calls this first. @param tuning of the run. */
export function limitHistory(tuning: Tuning | undefined): void {
  limit = tuning?.continueAsNewAfterEvents ?? tuning?.historyLimit ?? UNSAID_LIMIT;
}

/**
 * True once the history has as many events as the limit, which tests may set lower; once the server suggests it,
 * because of the history's size; or once `continueWhenPossible` was called. May be used in a condition.
 */
export const shouldContinueAsNew = (): boolean => isLong;

/** Call this when the current task is certain to issue a command; a command that is taken back does not count. */
export function commandIsIssued(): void {
  if (isLocalWorkDone) return count(EVENTS_OF_COMMAND);
  const { continueAsNewSuggested, historyLength } = workflowInfo();
  [length, counted] = [historyLength, 0];
  // It never becomes false again: work that was interrupted because of it must still find the reason.
  isLong ||= continueAsNewSuggested || historyLength >= limit;
}

/**
 * Call this when work of this workflow's own worker has ended. If the work took long, the task that receives the
 * outcome may be a later one than on replay, where the outcome is known immediately. So the length is not read again
 * before the next activity is scheduled.
 */
export const localWorkEnds = (): void => void (isLocalWorkDone = true);
/** Call this when an activity is certain to be scheduled and no local work was done in the current task. */
export function activityIsScheduled(): void {
  isLocalWorkDone = false;
  commandIsIssued();
}

export const messageHasCome = (): void => count(EVENTS_OF_MESSAGE);
export const timerIsStarted = (): void => count(EVENTS_OF_TIMER);

/** Makes the run continue as new whatever its length. */
export function continueWhenPossible(): void {
  isLong = true;
}

/** Passes a run's tuning to the next run, including fields that this version does not know. */
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
