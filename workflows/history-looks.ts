/**
 * Looks at the history's length with what workflows command, and counts their timers. Not one of the workflows: the bundle
 * takes it for an interceptor. It must not put anything off, not even by a promise more: histories say what came first.
 */
import { CancellationScope, type WorkflowInterceptors } from '@temporalio/workflow';
import { commandIsIssued, timerIsStarted } from './history-limit.js';

/** In a scope that is cancelled nothing is commanded any more. */
function commands(): void {
  if (!CancellationScope.current().consideredCancelled) commandIsIssued();
}

export const interceptors = (): WorkflowInterceptors => ({
  outbound: [
    {
      scheduleActivity: (input, next) => {
        commands();
        return next(input);
      },
      signalWorkflow: (input, next) => {
        commands();
        return next(input);
      },
      // No look: one that is taken back in the same task, as what it was to limit has come already, leaves no command.
      startTimer: (input, next) => {
        timerIsStarted();
        return next(input);
      },
    },
  ],
});
