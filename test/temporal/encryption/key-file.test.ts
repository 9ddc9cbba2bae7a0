import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { DocumentError } from '../../../config/document.js';
import { addKey, readKeyFile, useKey } from '../../../temporal/encryption/key-file.js';
import { newKey } from '../../support/key-files.js';
import { temporaryFolder } from '../../support/temporary-folder.js';

const key = newKey();
const inUse = { standby: false, today: '2026-11-27' };

let file: string;
beforeEach(async () => {
  file = join(await temporaryFolder(), 'keys.yaml');
});
const write = (text: string, mode = 0o600) => writeFile(file, text, { mode });

async function refusal(): Promise<DocumentError> {
  const error: unknown = await readKeyFile(file).catch((refused: unknown) => refused);
  if (error instanceof DocumentError) return error;
  throw new Error('the key file was accepted', { cause: error });
}

test('is YAML, and so JSON too', async () => {
  await write(`current: a\nkeys:\n  a: ${key}\n`);
  const read = await readKeyFile(file);
  expect(read.current).toBe('a');
  expect(read.keys.get('a')?.toString('base64')).toBe(key);
  await write(JSON.stringify({ current: 'b', keys: { a: newKey(), b: key } }));
  expect([...(await readKeyFile(file)).keys.keys()]).toEqual(['a', 'b']);
});

describe('is refused, with file, field and remedy, and without a key', () => {
  const short = Buffer.from(key, 'base64').subarray(1).toString('base64');
  const cases: [what: string, text: string, path: string, problem: RegExp][] = [
    ['a key of 31 bytes', `current: a\nkeys: { a: ${short} }`, 'keys.a', /a key is 32 random bytes in base64/],
    ['a key that is no base64', `current: a\nkeys: { a: '${key}!' }`, 'keys.a', /a key is 32 random bytes/],
    ['no current key', `keys: { a: ${key} }`, 'current', /this field is required/],
    ['a current key that is not there', `current: b\nkeys: { a: ${key} }`, 'current', /no key with this id.*has: a$/],
    ['a key for an id', `current: ${key}\nkeys: { a: ${key} }`, 'current', /no key with this id/],
    ['an id and a key that changed places', `current: a\nkeys: { ${key}: a }`, 'keys', /an id is a letter/],
    ['no keys', 'current: a\nkeys: {}', 'current', /no key with this id$/],
    ['a number for a key', 'current: a\nkeys: { a: 1 }', 'keys.a', /expected text/],
    ['an unknown field', `current: a\nkyes: { a: ${key} }`, 'kyes', /unknown field/],
    ['a key for a field', `current: a\n${key}: a\nkeys: {}`, '(hidden)', /unknown field/],
    ['a key alone', key, '(document)', /expected nested fields/],
    ['no YAML', `current: "${key}\nkeys`, '(syntax)', /invalid YAML/],
    ['nothing', '', '(document)', /nested fields/],
  ];
  test.each(cases)('%s', async (_what, text, path, problem) => {
    await write(text);
    const error = await refusal();
    expect(error).toMatchObject({ file, path, problem: expect.stringMatching(problem) });
    expect(error.remedy).not.toBe('');
    for (const hidden of [key, short, key.slice(0, 20)]) expect(error.message).not.toContain(hidden);
  });

  test.each([0o640, 0o604, 0o660])('a file of mode %o', async (mode) => {
    await write(`current: a\nkeys: { a: ${key} }`);
    await chmod(file, mode);
    const error = await refusal();
    expect(error.message).toContain(`(mode 0${mode.toString(8)})\n  Remedy: chmod 600 ${file}`);
  });

  test('a missing file, and something that is not a file', async () => {
    expect((await refusal()).message).toMatch(
      /the key file does not exist\n {2}Remedy: create it with `farshore keys new/,
    );
    await mkdir(file, { mode: 0o700 });
    expect((await refusal()).message).toContain('the key file cannot be read (EISDIR)');
  });
});

describe('a new key', () => {
  test('creates the file, for its owner only', async () => {
    expect(await addKey(file, inUse)).toEqual({ id: '2026-11-27', current: '2026-11-27', made: true });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await readKeyFile(file)).keys.get('2026-11-27')).toHaveLength(32);
  });

  test('is added to the existing keys, and other content of the file is kept', async () => {
    await write(`# of vault-01\ncurrent: a\nkeys:\n  a: ${key} # the first\n`);
    expect(await addKey(file, inUse)).toEqual({ id: '2026-11-27', current: '2026-11-27', made: false });
    expect(await addKey(file, inUse)).toMatchObject({ id: '2026-11-27-2', current: '2026-11-27-2' });
    const { current, keys } = await readKeyFile(file);
    expect(current).toBe('2026-11-27-2');
    expect([...keys.keys()]).toEqual(['a', '2026-11-27', '2026-11-27-2']);
    expect(keys.get('a')?.toString('base64')).toBe(key);
    expect(keys.get('2026-11-27')).not.toEqual(keys.get('2026-11-27-2'));
    expect(await readFile(file, 'utf8')).toMatch(/^# of vault-01\n[^]*# the first\n/);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  test('is on standby until it is used', async () => {
    await addKey(file, inUse);
    expect(await addKey(file, { ...inUse, standby: true })).toMatchObject({
      id: '2026-11-27-2',
      current: '2026-11-27',
    });
    expect((await readKeyFile(file)).current).toBe('2026-11-27');
    await useKey(file, '2026-11-27-2');
    expect((await readKeyFile(file)).current).toBe('2026-11-27-2');
    await expect(useKey(file, 'c')).rejects.toThrow(/has no key c; it has: 2026-11-27, 2026-11-27-2/);
  });

  test('is not added to an invalid file, which is not changed', async () => {
    await write('current: a\nkeys: {}');
    await expect(addKey(file, inUse)).rejects.toThrow(DocumentError);
    expect(await readFile(file, 'utf8')).toBe('current: a\nkeys: {}');
  });

  test('leaves a link to the file a link', async () => {
    const link = `${file}.link`;
    await addKey(file, inUse);
    await symlink(file, link);
    await addKey(link, inUse);
    expect((await readKeyFile(file)).keys.size).toBe(2);
    expect(await readdir(join(file, '..'))).toEqual(['keys.yaml', 'keys.yaml.link']);
  });

  test('when several are added in parallel, none is lost, and readers never see half a file', async () => {
    await addKey(file, inUse);
    const added = await Promise.allSettled(Array.from({ length: 8 }, () => addKey(file, inUse)));
    const reads = await Promise.all(Array.from({ length: 8 }, () => readKeyFile(file)));
    const ids = added.flatMap((each) => (each.status === 'fulfilled' ? [each.value.id] : []));
    expect(ids.length).toBeGreaterThan(0);
    for (const { keys } of reads) expect([...keys.keys()]).toEqual(expect.arrayContaining(ids));
    for (const each of added) {
      if (each.status === 'rejected') expect(String(each.reason)).toMatch(/another command is changing the key file/);
    }
  });
});
