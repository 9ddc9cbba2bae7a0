import { expect } from 'vitest';
import { CatalogueError, type FailureCode } from '../../domain/errors.js';

export async function failsWith(code: FailureCode, work: Promise<unknown>): Promise<CatalogueError> {
  const error: unknown = await work.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  expect(error).toBeInstanceOf(CatalogueError);
  expect(error).toMatchObject({ code });
  return error as CatalogueError;
}
