/**
 * The changes of behaviour that runs already begun do not take part in, one `patched` name each, numbered in the order
 * they came. A run that began before such a change goes on as it did: its history has no marker of that name.
 * Names are never changed nor used twice.
 */

/** 1. Entities send alerts, and have their host watched between cycles. */
export const HOST_WATCH_AND_ALERTS = 'host-watch-and-alerts';

/** 2. A VM that its host does not know, or whose host does not answer, is looked for on the others. */
export const MOVED_VM = 'moved-vm';

/** 3. Entities, jobs and plan runs leave their state in their memo, where it can be read without a worker. */
export const STATE_IN_MEMO = 'state-in-memo';

/** 4. A resynchronization digests the replica a stretch ahead of the comparing. */
export const DIGESTS_RUN_AHEAD = 'digests-run-ahead';

/** 5. A VM that waits for a person carries the job state that says so, as its jobs do. */
export const WAITING_VM_LISTED = 'waiting-vm-listed';

/** 6. `retry` finds a job that was closed from outside, instead of failing. */
export const RETRY_FINDS_JOB_GONE = 'retry-finds-job-gone';

/** 7. A planned failover asks the agent before it shuts the VM down. */
export const FAILOVER_ASKS_AGENT = 'failover-asks-agent';

/** 8. A failover asks the tracker what was written last, and cuts again until a cut holds everything. */
export const FAILOVER_ASKS_TRACKER = 'failover-asks-tracker';

/** 9. Conditions look at state only, and time comes from timers: a refused update begins nothing. */
export const CONDITIONS_BY_STATE = 'conditions-by-state';

/** 10. A job that begins clears no condition of its VM, and alerts tell of trouble, not of stages of being protected. */
export const CONDITIONS_OUTLAST_JOBS = 'conditions-outlast-jobs';

/** 11. What a job undoes climbs the ladder, in plain sight, and what is left of it is told to the entity. */
export const UNDOING_CLIMBS = 'undoing-climbs';

/** 12. A job that was closed from outside may have left something undone, which shows until it is. */
export const CLOSED_JOB_LEAVES = 'closed-job-leaves';

/** 13. A plan run and the jobs that it holds ask now and then whether the other is still there. */
export const PLAN_AND_JOBS_ASK = 'plan-and-jobs-ask';

/** 14. A job that another one has taken over from begins no further step, even where it can only go forward. */
export const SUPERSEDED_STOPS = 'superseded-stops';

/** 15. A job ends once its entity is closed, whatever it waits for. */
export const JOB_NOTICES_CLOSED_ENTITY = 'job-notices-closed-entity';

/** 16. A `retry` that comes while an attempt is under way says nothing of what that attempt fails with. */
export const RETRY_IS_OF_ITS_FAILURE = 'retry-is-of-its-failure';

/** 17. Whoever cancels a job requests its cancellation of the server, too, so that it is shown as cancelled. */
export const CANCEL_IS_REQUESTED = 'cancel-is-requested';

/** 18. Cycles that are overdue count as missed now, and not once the late one is done. */
export const OVERDUE_COUNTS = 'overdue-counts';

/** 19. An alert counts as told once it was taken, and the newest state is told until then. */
export const ALERTS_UNTIL_TOLD = 'alerts-until-told';

/** 20. Ids of jobs say their vault. */
export const VAULT_IN_JOB_IDS = 'vault-in-job-ids';

/** 21. A pause leaves what is failing a condition of its VM. */
export const PAUSE_KEEPS_CONDITIONS = 'pause-keeps-conditions';

/** 22. The length of the history is looked at where a command is issued, so that each replay finds the same. */
export const HISTORY_LENGTH_BY_COMMANDS = 'history-length-by-commands';
