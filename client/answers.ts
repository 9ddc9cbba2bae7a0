/**
 * The output of `farshore … --json`, by command. The code that makes the answers takes its types from here, and `npm
 * run schemas` generates schemas/answers/ from it.
 *
 * Each thing has one word: `vm` is the name of a VM, `power` whether it is on, `phase` the stage of its protection,
 * `state` the state of a job, a plan run or a worker. `disks` is an array, and a disk has the same fields wherever it
 * appears. Anything that may occur more than once is an array even if there is only one. docs/json.md explains this to
 * readers of the output.
 */
import { z } from 'zod';
import { ANSWER_VERSION } from './answer-version.js';
import { siteAnswers } from './answers/site-answers.js';
import { vmAnswers } from './answers/vm-answers.js';

export const answers = { ...siteAnswers, ...vmAnswers };

export type AnswerName = keyof typeof answers;
/** The value that a command makes; the version and the command's name are added when it is printed. */
export type Answer<C extends AnswerName> = Unchanged<z.infer<(typeof answers)[C]>>;

/** Makes everything readonly, because output is only printed. */
type Unchanged<T> = T extends readonly (infer Item)[]
  ? readonly Unchanged<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: Unchanged<T[Key]> }
    : T;

export const answerSchema = (name: AnswerName): z.ZodObject =>
  z.strictObject({
    version: z.literal(ANSWER_VERSION).describe('Version of all answers; see docs/json.md.'),
    answer: z.literal(name).describe('The command that answers.'),
    ...answers[name].shape,
  });

/** The answer of a command that was refused or has failed. */
export const errorAnswerSchema = z.strictObject({
  version: z.literal(ANSWER_VERSION).describe('Version of all answers; see docs/json.md.'),
  error: z.strictObject({
    code: z
      .string()
      .describe(
        'Kind of error: BadArguments, WrongDocument, Refused, Unreachable, JobFailed, WrongKeys, NoTemporal, DamagedInstance, Unexpected, or a failure of the catalogue such as StoreUnreachable.',
      ),
    message: z.string().describe('Text for people.'),
    remedy: z.string().exactOptional().describe('The remedy, for people.'),
    exitCode: z.int().describe("The command's exit code."),
    file: z.string().exactOptional().describe('The document with the error.'),
    line: z.int().exactOptional().describe('Position in the document, from 1.'),
    path: z.string().exactOptional().describe('The wrong value.'),
  }),
});
export type ErrorAnswer = z.infer<typeof errorAnswerSchema>;
