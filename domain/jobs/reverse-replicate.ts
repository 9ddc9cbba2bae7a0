import type { AskedJob } from './job-definition.js';
import { no, yes } from '../permission.js';

const tasks = ['Identifying the replication target', 'Enable replication'] as const;

export const reverseReplicate: AskedJob<'reverseReplicate', typeof tasks> = {
  kind: 'reverseReplicate',
  title: 'Reverse replicate',
  tasks,
  allowed: ({ vm, activeSide, phase }, { busy, inPhase }) =>
    busy ??
    (phase === 'FailedBack'
      ? no(`its failback is not committed; first run: farshore commit ${vm}`)
      : phase === 'Committed' && activeSide === 'recovery'
        ? no(`it runs at the recovery site; first run: farshore failback ${vm}`)
        : undefined) ??
    inPhase('Committed', 'only a VM that was failed back can be protected again') ??
    yes,
  withoutHost: 'refused',
  succeeded: (_, ended, { at }) => ({
    ...ended,
    phase: 'Seeding',
    resync: { cause: 'The VM has been failed back', since: at, dueAt: at },
  }),
  // Compares both sites and sends only the differences.
  followedBy: () => 'resynchronize',
};
