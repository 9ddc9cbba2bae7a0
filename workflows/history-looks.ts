/**
 * Checks the history's length whenever a workflow issues a command, and counts its timers. This is not a workflow: the
 * bundle loads it as an interceptor. It must not delay anything, not even by one promise, because histories record the
 * order of events.
 */
import { CancellationScope, type WorkflowInterceptors } from '@temporalio/workflow';
import { commandIsIssued, timerIsStarted } from './history-limit.js';

/** In a cancelled scope, no more commands are issued. */
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
      // Does not check the length here: a timer that is cancelled in the task that started it, because its condition is
      // already true, leaves no command.
      startTimer: (input, next) => {
        timerIsStarted();
        return next(input);
      },
    },
  ],
});
