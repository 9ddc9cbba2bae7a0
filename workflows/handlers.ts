/**
 * Registers every handler of signals and updates. The content of a signal is parsed. A signal that cannot be read is
 * logged and dropped: its sender cannot be told, and an error thrown here would stop the workflow for good.
 */
import { log, setHandler, type QueryDefinition, type SignalDefinition } from '@temporalio/workflow';
import type { UpdateDefinition } from '@temporalio/common';
import type { z } from 'zod';
import { continueWhenPossible, limitHistory, messageHasCome } from './history-limit.js';
import { continueAsNewSignal, type Tuning } from './messages.js';

/**
 * The handlers of a workflow. Every workflow can be told to continue as new at any time. @param tuning of the workflow.
 */
export function handlersOf(tuning: Tuning | undefined) {
  limitHistory(tuning);
  setHandler(continueAsNewSignal, continueWhenPossible);
  return handlers;
}

const handlers = {
  onSignal<T>(signal: SignalDefinition<[T]>, schema: z.ZodType<T>, handle: (news: T) => void | Promise<void>): void {
    setHandler(signal, (raw) => {
      messageHasCome();
      const news = schema.safeParse(raw);
      if (news.success) return handle(news.data);
      log.error('A malformed message was dropped', { signal: signal.name, problem: news.error.message });
    });
  },

  /** A signal without content. */
  onCall(signal: SignalDefinition, handle: () => void): void {
    setHandler(signal, () => {
      messageHasCome();
      handle();
    });
  },

  /** @param validate throws to refuse the update, and changes nothing. */
  onUpdate<R, T>(
    update: UpdateDefinition<R, [T]>,
    handle: (request: T) => R | Promise<R>,
    validate: (request: T) => void,
  ): void {
    setHandler(
      update,
      (request) => {
        messageHasCome();
        return handle(request);
      },
      { validator: validate },
    );
  },

  onQuery<R>(query: QueryDefinition<R>, answer: () => R): void {
    setHandler(query, answer);
  },
};
export type Handlers = typeof handlers;
