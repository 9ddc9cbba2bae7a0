/** `--reason`: why an operator requests a job, kept in its record. */
import { InvalidArgumentError, Option } from 'commander';
import { reasonSchema, type JobParameters } from '../../domain/job.js';

export interface ReasonOptions {
  readonly reason?: string;
}

export const reasonOption = (): Option =>
  new Option('--reason <text>', 'why you do this; kept in the record of each job').argParser((text: string) => {
    const reason = reasonSchema.safeParse(text);
    if (reason.success) return reason.data;
    throw new InvalidArgumentError('Give a text of 1 to 500 characters.');
  });

/** As parameters of a job. */
export const reasonOf = ({ reason }: ReasonOptions): Pick<JobParameters, 'reason'> =>
  reason === undefined ? {} : { reason };
