/** The updates and signals of the protection entity, except its settings. Each is answered immediately. */
import { hostNewsSchema, locatedVmSchema, type HostNews } from '../domain/host.js';
import { viewOf } from '../domain/item-view.js';
import type { JobOutcome } from '../domain/job-outcome.js';
import { jobOperations, type JobKind } from '../domain/jobs/known-jobs.js';
import type { JobRequest } from '../domain/running-job.js';
import { now } from './clock.js';
import type { Handlers } from './handlers.js';
import * as messages from './messages.js';
import { answerPlan } from './plan-request.js';
import { refuseSyncUnlessAllowed } from './refusal.js';
import type { SettingsOwner } from './settings.js';

export type NewJobRequest = Omit<JobRequest, 'jobId' | 'kind'>;

/** The part of the entity that these handlers use. */
export interface AskedEntity extends SettingsOwner {
  accept(kind: JobKind, request: NewJobRequest): messages.JobAccepted;
  sync(request: messages.SyncRequest): messages.SyncAccepted;
  resynchronize(request: messages.ResynchronizeRequest): { jobId?: string };
  retry(): Promise<{ retried: string }>;
  completeFailback(): Promise<messages.JobAccepted>;
  jobEnded(jobId: string, result: JobOutcome): void;
  hostNews(news: HostNews): void;
}

export function handleMessages({ onSignal, onCall, onUpdate, onQuery }: Handlers, entity: AskedEntity): void {
  for (const operation of jobOperations()) {
    const validate = (request: messages.JobOperationRequest) => entity.validate(operation, request);
    onUpdate(messages.jobUpdate(operation), (request) => entity.accept(operation, request), validate);
  }
  onUpdate(
    messages.syncUpdate,
    (request) => entity.sync(request),
    (request) => refuseSyncUnlessAllowed(entity.item(), request),
  );
  onUpdate(
    messages.resynchronizeUpdate,
    (request) => entity.resynchronize(request),
    (request) => entity.validate('resynchronize', request),
  );
  onUpdate(
    messages.retryUpdate,
    () => entity.retry(),
    (request) => entity.validate('retry', request),
  );
  onUpdate(
    messages.completeFailbackUpdate,
    () => entity.completeFailback(),
    (request) => entity.validate('completeFailback', request),
  );
  onCall(messages.stillThereSignal, () => undefined);
  onQuery(messages.protectedItemQuery, () => viewOf(entity.item(), now()));
  onSignal(messages.hostNewsSignal, hostNewsSchema, (news) => entity.hostNews(news));
  onSignal(messages.vmMovedSignal, locatedVmSchema, (found) => entity.on({ type: 'vmMoved', found, at: now() }));
  onSignal(messages.requestJobSignal, messages.jobRequestSignalSchema, (request) =>
    answerPlan(request, entity.item().vm, (kind, wanted) => {
      entity.validate(kind, wanted);
      return entity.accept(kind, wanted);
    }),
  );
  onSignal(messages.jobProgressedSignal, messages.jobProgressSchema, (news) =>
    entity.on({ type: 'jobProgressed', at: now(), ...news }),
  );
  onSignal(messages.jobEndedSignal, messages.jobEndSchema, ({ jobId, result }) => entity.jobEnded(jobId, result));
}
