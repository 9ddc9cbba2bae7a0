/** What scripts import: `import { Farshore } from 'farshore'`. */
export { RefusedError, UnreachableError } from './errors.js';
export type { ConnectOptions } from './connect-options.js';
export { Farshore } from './farshore.js';
export type { ProtectedItemView } from '../domain/item-view.js';
export type { FoundLeftovers, Leftover } from '../local/leftovers.js';
export type { PlanRun } from '../domain/plan-run.js';
export type { JobAccepted, SyncAccepted } from '../workflows/messages.js';
export type { Job, FailoverResult, VerifyResult } from '../domain/job.js';
export type { TestFailoverResult } from '../domain/drill.js';
export { loadPlan, loadSite, type LoadedSite } from '../config/site-file.js';
