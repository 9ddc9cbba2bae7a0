import type { JobDefinition } from './job-definition.js';
import { unmarked } from '../resync-mark.js';

const tasks = [
  'Copying the virtual disks',
  'Verifying the replica',
  'Deleting the VM snapshot',
  'Synchronizing the changes held in the logs',
] as const;

export const initialReplication: JobDefinition<'initialReplication', typeof tasks> = {
  kind: 'initialReplication',
  title: 'Initial replication',
  tasks,
  succeeded: (_, ended) => unmarked(ended),
  followedBy: () => 'finalizeProtection',
};
