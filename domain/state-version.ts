/**
 * The versions of a VM's carried state. Most changes need no new version: a new field is optional, and a worker that
 * does not know the field keeps it (`carried.ts`). A step is for changes that this does not cover, such as a field that
 * changes its meaning.
 *
 * A step changes how the state is written, not its meaning, because a run that began before the step replays its
 * history with it. After a rollback, an older worker reads the newer state as far as it can and leaves the version
 * unchanged. If it can't read the state, the workflow task fails until a newer worker is back.
 */
export type State = Readonly<Record<string, unknown>>;
type Step = (state: State) => State;

/**
 * The first step leads from version 1 to 2, and so on. A step must stay as long as there may be runs that began before
 * it.
 */
const steps: readonly Step[] = [];

export const STATE_VERSION = steps.length + 1;

/**
 * The state as this version of the code writes it. A newer state, or a value that is not a state, is returned
 * unchanged.
 * @param through the steps; tests pass their own.
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
