import type { JobDefinition } from './job-definition.js';

const tasks = ['Finalize protection on the virtual machine'] as const;

export const finalizeProtection: JobDefinition<'finalizeProtection', typeof tasks> = {
  kind: 'finalizeProtection',
  title: 'Finalize protection on the virtual machine',
  tasks,
  succeeded: (_, ended, { at }) => ({
    ...ended,
    phase: 'Protected',
    protectedSince: at,
    // A marked VM has no cycles to wait for.
    ...(!ended.resync && { cycleDueAt: at }),
  }),
};
