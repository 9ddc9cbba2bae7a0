import { ApplicationFailure, WorkflowNotFoundError, WorkflowUpdateFailedError } from '@temporalio/client';
import { describe, expect, it } from 'vitest';
import { unlessEnding } from '../../client/ending-protection.js';
import { RefusedError } from '../../client/errors.js';
import { PROTECTION_ENDING } from '../../workflows/messages.js';

const refusal = (cause: Error) => new RefusedError('refused', { cause });
const failure = (type: string) =>
  refusal(new WorkflowUpdateFailedError('refused', ApplicationFailure.nonRetryable('why', type)));

const beginning = (errors: Error[]) => {
  let calls = 0;
  const begin = () => {
    calls += 1;
    const error = errors.shift();
    return error ? Promise.reject(error) : Promise.resolve('begun');
  };
  return { begin, calls: () => calls };
};

describe('a protection that begins while another one ends', () => {
  it('is requested again until it is accepted', async () => {
    const { begin, calls } = beginning([
      failure(PROTECTION_ENDING),
      refusal(new WorkflowNotFoundError('closed', 'vm/v/db-01', undefined)),
    ]);
    expect(await unlessEnding(begin)).toBe('begun');
    expect(calls()).toBe(3);
  });

  it('is refused immediately for every other reason', async () => {
    for (const error of [failure('OperationNotAllowed'), new RefusedError('no'), new Error('broken')]) {
      const { begin, calls } = beginning([error]);
      await expect(unlessEnding(begin)).rejects.toBe(error);
      expect(calls()).toBe(1);
    }
  });
});
