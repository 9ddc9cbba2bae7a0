/** The VM that `engine-program.ts` replicates: the same whenever it is made. */
import { SLICE_SIZE } from '../../replication/seed-record.js';
import { KiB, MiB, Model, write, zero } from './model.js';

export const CYCLES = 4;

export function engineModel(): Model {
  const model = new Model({ os: SLICE_SIZE + 5 * MiB + 512, data: 3 * MiB });
  for (let at = 0; at < 12; at += 1) model.write('os', write(at * 5 * MiB + 512, 1 * MiB, at));
  model.write('os', write(SLICE_SIZE + 5 * MiB, 512, 99));
  model.write('data', write(0, 2 * MiB, 100));
  return model;
}

export function writeCycle(model: Model, sequence: number): void {
  model.write('os', write(sequence * MiB, 3 * MiB, sequence));
  model.write('os', zero(sequence * 5 * MiB, 256 * KiB));
  for (let at = 0; at < 200; at += 1) {
    model.write('os', write(SLICE_SIZE + at * 8 * KiB + sequence * 512, 512, sequence * 1000 + at));
  }
  model.write('data', write(sequence * 256 * KiB, 512 * KiB, sequence + 50));
}
