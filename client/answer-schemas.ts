/** The JSON Schemas of `--json` output that are part of the package. */
import { jsonSchemaOf } from '../config/document-schemas.js';
import { answers, answerSchema, errorAnswerSchema, type AnswerName } from './answers.js';

export const answerNames = Object.keys(answers) as AnswerName[];

export const answerFile = (name: AnswerName): string =>
  `schemas/answers/${name.replaceAll(/[^a-z]+/g, '-')}.schema.json`;

export const answerFiles = (): { readonly file: string; readonly schema: object }[] => [
  {
    file: 'schemas/error.schema.json',
    schema: jsonSchemaOf('Output of farshore … --json for a command that was refused or failed', errorAnswerSchema),
  },
  ...answerNames.map((name) => ({ file: answerFile(name), schema: answerJsonSchema(name) })),
];

/** The schema of the printed answer. */
export const answerJsonSchema = (name: AnswerName): object =>
  jsonSchemaOf(`Output of farshore ${name} --json`, answerSchema(name), 'output');
