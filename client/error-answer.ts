/** The `--json` output of a command that was refused or has failed, which is an answer like any other. */
import { CommanderError } from 'commander';
import { CatalogueError, failureCatalogue } from '../domain/errors.js';
import { DamagedInstanceError } from '../config/data-folder.js';
import { DocumentError } from '../config/document.js';
import { EncryptionError, UnknownKeyError } from '../temporal/encryption/errors.js';
import { ProvisioningError } from '../temporal/server/ways.js';
import { TemporalProblem } from '../temporal/problem.js';
import { ANSWER_VERSION } from './answer-version.js';
import type { ErrorAnswer } from './answers.js';
import { JobFailedError, RefusedError, UnreachableError } from './errors.js';
import { exitCodeOf, exitCodes } from './exit-codes.js';

const REMEDY = '\n  Remedy: ';

export function errorAnswer(error: unknown): ErrorAnswer {
  const whole = error instanceof Error ? error.message : String(error);
  const [text = '', ...remedies] = whole.split(REMEDY);
  const known = error instanceof CatalogueError ? failureCatalogue[error.code].remedy : undefined;
  const remedy = remedies.length > 0 ? remedies.join('; ') : known;
  return {
    version: ANSWER_VERSION,
    error: {
      code: codeOf(error),
      message: error instanceof CommanderError ? text.replace(/^error: /, '') : text,
      ...(remedy !== undefined && { remedy }),
      exitCode: exitCodeOf(error),
      ...(error instanceof DocumentError && { file: error.file, line: error.line, path: error.path }),
    },
  };
}

function codeOf(error: unknown): string {
  if (error instanceof CatalogueError || error instanceof TemporalProblem) return error.code;
  if (error instanceof CommanderError) return 'BadArguments';
  if (error instanceof DocumentError) return 'WrongDocument';
  if (error instanceof JobFailedError) return 'JobFailed';
  if (error instanceof EncryptionError || error instanceof UnknownKeyError) return 'WrongKeys';
  if (error instanceof DamagedInstanceError) return 'DamagedInstance';
  if (error instanceof ProvisioningError) return 'NoTemporal';
  if (!(error instanceof RefusedError || error instanceof UnreachableError)) {
    return exitCodeOf(error) === exitCodes.unexpected ? 'Unexpected' : 'Refused';
  }
  // The code that turned the cause into this answer may have known more.
  const { cause } = error;
  if (cause instanceof CatalogueError || cause instanceof TemporalProblem) return cause.code;
  return error instanceof RefusedError ? 'Refused' : 'Unreachable';
}
