/** Puts what `--json` has printed to its schema. */
import { Ajv, type ValidateFunction } from 'ajv';
import { z } from 'zod';
import { answerFiles, answerJsonSchema, answerNames } from '../../client/answer-schemas.js';
import type { AnswerName } from '../../client/answers.js';

const named = z.looseObject({ answer: z.enum(answerNames).optional() });
const ajv = new Ajv({
  strict: true,
  allErrors: true,
  allowUnionTypes: true,
  formats: { 'date-time': true, uri: true },
});
const validators = new Map<AnswerName | 'error', ValidateFunction>();

/** Strict: what the schema does not tell of is wrong, too. @returns whose answer it is. @throws Error that says what is wrong. */
export function checkAnswer(value: unknown): AnswerName | 'error' {
  const name = named.parse(value).answer ?? 'error';
  const validate = validatorOf(name);
  if (validate(value)) return name;
  throw new Error(`the answer of ${name} is not as its schema says: ${ajv.errorsText(validate.errors)}`);
}

export function validatorOf(name: AnswerName | 'error'): ValidateFunction {
  const known = validators.get(name) ?? ajv.compile(schemaOf(name));
  validators.set(name, known);
  return known;
}

const schemaOf = (name: AnswerName | 'error'): object =>
  name === 'error' ? answerFiles().find(({ file }) => file.includes('error'))!.schema : answerJsonSchema(name);
