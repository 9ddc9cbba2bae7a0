/**
 * What a process of tests keeps for all its files, a server for one, and ends when no file is left for it. It is the
 * environment of all tests: of all that vitest lets one add to a process, the environment alone begins and ends with it.
 */
import type { Environment } from 'vitest/runtime';

type Ending = () => Promise<void>;

/** The environment is loaded apart from the tests: what they share is the global object. */
const holder = globalThis as { [ENDINGS]?: Ending[] };
const ENDINGS = Symbol.for('farshore: what ends with the process');

/** Has something done when the last file of this process is done; what came last ends first. */
export function atProcessEnd(ending: Ending): void {
  if (!holder[ENDINGS]) throw new Error('these tests run without the environment that vitest.config.ts gives them');
  holder[ENDINGS].unshift(ending);
}

export default {
  name: 'process',
  viteEnvironment: 'ssr',
  setup() {
    holder[ENDINGS] = [];
    return {
      async teardown() {
        for (const end of holder[ENDINGS] ?? []) await end();
      },
    };
  },
} satisfies Environment;
