import { ActivityFailure, ApplicationFailure, RetryState, TemporalFailure } from '@temporalio/common';
import { expect, it } from 'vitest';
import { neverFailing, unexpected } from '../../workflows/start-input.js';

it('an uncaught activity failure is turned into an error that fails the task, not the workflow', async () => {
  const cause = ApplicationFailure.nonRetryable('the disk is gone', 'DiskMissing');
  const failure = new ActivityFailure('an activity has failed', 'copyDisk', '1', RetryState.TIMEOUT, 'w', cause);
  for (const error of [failure, cause]) {
    const seen = unexpected(error);
    expect(seen).toBeInstanceOf(Error);
    expect(seen).not.toBeInstanceOf(TemporalFailure);
    expect(seen).toMatchObject({ message: expect.stringContaining(error.message), cause: error });
    await expect(neverFailing(() => Promise.reject(error))).rejects.not.toBeInstanceOf(TemporalFailure);
  }
  // What fails the task anyway stays what it is.
  const other = new TypeError('x is undefined');
  expect(unexpected(other)).toBe(other);
});
