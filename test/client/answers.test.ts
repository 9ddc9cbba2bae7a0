/** Every answer is described: by a schema in the package, and each command has one. */
import { readFile, readdir } from 'node:fs/promises';
import type { Command } from 'commander';
import { expect, test } from 'vitest';
import { answerFile, answerFiles, answerNames } from '../../client/answer-schemas.js';
import { program } from '../../client/program.js';
import { schemaText } from '../../config/document-schemas.js';
import { checkAnswer, validatorOf } from './answer-check.js';

/** They print documents, or nothing but what they say on the way. */
const withoutAnswer = ['site schema', 'plan schema', 'worker', 'codec-server', 'completion', 'help'];

function commandsOf(command: Command, path: readonly string[] = []): string[] {
  if (command.commands.length === 0) return [path.join(' ')];
  return command.commands.flatMap((child) => commandsOf(child, [...path, child.name()]));
}

test('each command has an answer schema, and each schema a command', () => {
  const answering = new Set(answerNames.map((name) => name.split(' --')[0]!));
  expect([...answering, ...withoutAnswer].toSorted()).toEqual(commandsOf(program()).toSorted());
});

test.each(answerFiles())('$file is what `npm run schemas` writes', async ({ file, schema }) => {
  expect(await readFile(file, 'utf8')).toBe(schemaText(schema));
});

test('there is no schema of an answer that no longer exists', async () => {
  const files = (await readdir('schemas/answers')).map((name) => `schemas/answers/${name}`);
  expect(files.toSorted()).toEqual(answerNames.map(answerFile).toSorted());
});

test.each(answerNames)(
  'the schema of %s says nothing that means nothing, and which version and command it is of',
  (name) => {
    const validate = validatorOf(name);
    validate({});
    for (const missing of ['version', 'answer']) {
      expect(validate.errors).toContainEqual(expect.objectContaining({ params: { missingProperty: missing } }));
    }
  },
);

test('docs/json.md lists every answer', async () => {
  const text = await readFile('docs/json.md', 'utf8');
  expect(answerNames.filter((name) => !text.includes(`\`${name}\``))).toEqual([]);
});

test('an answer with an additional field, a missing field, or another version is rejected', () => {
  const right = { version: 1, answer: 'pause', vm: 'db-01', since: '2026-01-01T00:00:00.000Z' };
  expect(checkAnswer(right)).toBe('pause');
  const { since: _since, ...less } = right;
  for (const wrong of [{ ...right, name: 'db-01' }, less, { ...right, version: 2 }]) {
    expect(() => checkAnswer(wrong)).toThrow(/the answer of pause is not as its schema says/);
  }
});
