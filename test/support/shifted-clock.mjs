/**
 * Loaded into processes with NODE_OPTIONS=--import: those whose command line holds a name of the file FARSHORE_TEST_CLOCK,
 * JSON of milliseconds by name, have a clock that is wrong by as much. Read at the start: a clock that is set, with a kill.
 */
import { readFileSync } from 'node:fs';

const shifts = JSON.parse(readFileSync(process.env.FARSHORE_TEST_CLOCK, 'utf8'));
const commandLine = process.argv.slice(1).join(' ');
const [, shift = 0] = Object.entries(shifts).find(([name]) => commandLine.includes(name)) ?? [];

if (shift !== 0) {
  const RightDate = Date;
  const now = () => RightDate.now() + shift;
  globalThis.Date = class extends RightDate {
    constructor(...time) {
      super(...(time.length > 0 ? time : [now()]));
    }
    static now() {
      return now();
    }
  };
}
