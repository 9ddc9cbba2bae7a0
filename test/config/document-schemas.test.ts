/** The JSON Schemas that editors use are those of the code, take the examples, and see what is mistyped. */
import { readFile } from 'node:fs/promises';
import { Ajv } from 'ajv';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import {
  documentKinds,
  documentSchema,
  schemaFile,
  documentFiles,
  schemaText,
  type DocumentKind,
} from '../../config/document-schemas.js';

const example = (kind: DocumentKind) => readFile(`examples/${kind}.yaml`, 'utf8');
/** Strict: a schema that says something which means nothing is refused, too. */
const validatorOf = (kind: DocumentKind) =>
  // Types may be unions, and whether an address is well-formed is said by its format alone.
  new Ajv({ strict: true, allErrors: true, formats: { uri: /^[a-z]+:\/\/\S+$/ } }).compile(documentSchema(kind));

test.each(documentFiles())('$file is what `npm run schemas` writes', async ({ file, schema }) => {
  expect(await readFile(file, 'utf8')).toBe(schemaText(schema));
});

describe.each(documentKinds)('of a %s file', (kind) => {
  test('the example is right by it, and names it', async () => {
    const text = await example(kind);
    const validate = validatorOf(kind);
    validate(parse(text));
    expect(validate.errors).toBeNull();
    expect(text.split('\n')[0]).toBe(`# yaml-language-server: $schema=../${schemaFile(kind)}`);
  });
});

describe('is wrong by it', () => {
  test.each<[DocumentKind, right: string, wrong: string, path: string, keyword: string]>([
    ['site', 'copyFrequency: 30s', 'copyFrequncy: 30s', '/policies/0', 'additionalProperties'],
    ['site', 'copyFrequency: 30s', 'copyFrequency: 31s', '/policies/0/copyFrequency', 'enum'],
    ['site', 'kind: embedded', 'kind: embeded', '/vault/store/kind', 'const'],
    ['site', 'size: 68719476736', 'size: 1000', '/vms/0/disks/0/size', 'multipleOf'],
    ['site', 'limit: 50 Mbit/s', 'limit: 50 MB/s', '/vmmServers/0/clouds/0/hosts/0/bandwidth/limit', 'pattern'],
    ['plan', 'vms: [db-01]', 'vm: [db-01]', '/groups/0', 'additionalProperties'],
    ['plan', 'vms: [db-01]', 'vms: []', '/groups/0/vms', 'minItems'],
  ])('a %s file with, for "%s", "%s"', async (kind, right, wrong, path, keyword) => {
    const text = await example(kind);
    expect(text).toContain(right);
    const validate = validatorOf(kind);
    expect(validate(parse(text.replace(right, wrong)))).toBe(false);
    expect(validate.errors).toContainEqual(expect.objectContaining({ instancePath: path, keyword }));
  });
});

test('every field that does not explain itself is described', () => {
  const plain = new Set(['name', 'from', 'to', 'kind', 'subnets', 'generation', 'disks', 'vmNetwork', 'azureNetwork']);
  const undescribed = documentKinds
    .flatMap((kind) => fieldsOf(documentSchema(kind)))
    .filter(([name, description]) => description === undefined && !plain.has(name))
    .map(([name]) => name);
  expect([...new Set(undescribed)]).toEqual(['logicalNetwork']);
});

/** Name and description of each field, at any depth. */
function fieldsOf(schema: unknown): [name: string, description: string | undefined][] {
  if (schema === null || typeof schema !== 'object') return [];
  const { properties = {} } = schema as { properties?: Record<string, { description?: string }> };
  const own = Object.entries(properties).map(([name, { description }]): [string, string | undefined] => [
    name,
    description,
  ]);
  return [...own, ...Object.values(schema).flatMap(fieldsOf)];
}
