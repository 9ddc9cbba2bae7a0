/**
 * The versions of a VM's carried state. Most changes need none: a new field is optional, and a worker that does not know it
 * keeps it (`carried.ts`). A step is for what can't be had like that, as a field that means something else.
 *
 * A step changes how the state is written, not what it says: a run that began before it goes through its history with it.
 * After a rollback an older worker reads the newer state as far as it can, and leaves its version as it is; what it can't
 * read fails the workflow's task, until a newer worker is back.
 */
export type State = Readonly<Record<string, unknown>>;
type Step = (state: State) => State;

/** The first one leads from version 1 to 2, and so on. Steps stay as long as there may be runs that began before them. */
const steps: readonly Step[] = [];

export const STATE_VERSION = steps.length + 1;

/**
 * The state as this code writes it; one of a newer version, or what is none, as it is.
 * @param through the steps, for tests.
 */
export function migrate(raw: unknown, through = steps): unknown {
  if (typeof raw !== 'object' || raw === null) return raw;
  let state: State = { ...raw };
  for (;;) {
    const version = Number(state['stateVersion']);
    const step = through[version - 1];
    if (!step) return state;
    state = { ...step(state), stateVersion: version + 1 };
  }
}
