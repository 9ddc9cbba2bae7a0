import type { AskedJob } from './job-definition.js';
import { yes } from '../permission.js';

const tasks = [
  'Prerequisites check for cancelling the failback',
  'Shut down the virtual machine',
  'Returning to the recovery site',
  'Discarding the changes at the primary site',
  'Start the replica virtual machine',
] as const;

export const cancelFailback: AskedJob<'cancelFailback', typeof tasks> = {
  kind: 'cancelFailback',
  title: 'Cancel failback',
  tasks,
  allowed: (_, { busy, inPhase }) =>
    busy ?? inPhase('FailedBack', 'there is no failback that could be cancelled') ?? yes,
  mayLeave: () => ['startSource'],
  settles: () => ['startSource', 'discardFailback', 'endFailback'],
  succeeded: (item, ended, { at }) => ({
    ...ended,
    phase: 'Committed',
    activeSide: 'recovery',
    // It was not asked, so it has to be told as soon as it answers.
    ...(item.job?.parameters?.primaryLost && { sourceFence: { epoch: ended.epoch, since: at } }),
  }),
};
