/** Errors for faults of content in the store. */
import { CatalogueError } from '../../domain/errors.js';

export const invalid = (name: string, problem: string): CatalogueError =>
  new CatalogueError('InvalidReplicaState', `${name}: ${problem}`);

export const missingContent = (name: string): CatalogueError =>
  invalid(name, 'the catalog names it, but its content is missing');
