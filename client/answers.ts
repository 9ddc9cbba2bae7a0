/**
 * What `farshore … --json` prints, by the command that prints it. The types of the code that makes the answers come from here,
 * and `npm run schemas` makes schemas/answers/ of it.
 *
 * One word per thing: `vm` is the name of a VM, `power` whether it runs, `phase` where its protection stands, `state` how far a
 * job, a plan run or a worker is; `disks` is an array, and a disk looks alike wherever it is shown. What there can be several of
 * is an array even when there is one. docs/json.md says so to those who read them.
 */
import { z } from 'zod';
import { ANSWER_VERSION } from './answer-version.js';
import { siteAnswers } from './answers/site-answers.js';
import { vmAnswers } from './answers/vm-answers.js';

export const answers = { ...siteAnswers, ...vmAnswers };

export type AnswerName = keyof typeof answers;
/** What the command makes; who prints it adds the version and the command. */
export type Answer<C extends AnswerName> = Unchanged<z.infer<(typeof answers)[C]>>;

/** Whoever only prints may be given what must not be changed. */
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

/** Of a command that was refused, or has failed. */
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
