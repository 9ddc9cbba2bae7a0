/**
 * The file with the keys that encrypt Temporal's data: the id of the current key, and all keys that were ever used,
 * which old histories need. Only ids are ever shown.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, realpath, rename, rm, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { Document, parseDocument } from 'yaml';
import { z } from 'zod';
import { tryLockFile } from '../../disks/native.js';
import { syncFolder } from '../../disks/sync-folder.js';
import { shellWord } from '../../domain/shell-word.js';
import type { Finding } from '../../domain/site.js';
import { DocumentError, readDocument } from '../../config/document.js';
import { UnknownKeyError } from './errors.js';

/** Names the key file, for every client and every worker of a site. If it is not set, nothing is encrypted. */
export const KEY_FILE_VARIABLE = 'FARSHORE_ENCRYPTION_KEYS';

export interface EncryptionKeys {
  /** The id of the key that encrypts; the others only decrypt. */
  readonly current: string;
  /** By id: 32 bytes each. */
  readonly keys: ReadonlyMap<string, Buffer>;
}

const KEY_BYTES = 32;
const READABLE_BY_OTHERS = 0o077;
/** Shorter than a key, so that a key in the wrong place is not accepted as an id. */
const idPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$/;

const keyFileSchema = z.strictObject({ current: z.string(), keys: z.record(z.string(), z.string()) });
type KeyFile = z.infer<typeof keyFileSchema>;

/** @returns an absolute path. */
export const configuredKeyFile = (env: NodeJS.ProcessEnv = process.env): string | undefined =>
  env[KEY_FILE_VARIABLE] ? path.resolve(env[KEY_FILE_VARIABLE]) : undefined;

/** @throws DocumentError that names file, field and remedy, and shows no key. */
export async function readKeyFile(file: string): Promise<EncryptionKeys> {
  return keysOf(await readText(file), file);
}

/**
 * Creates the file, for its owner only, or adds a key to it, atomically: a reader finds either the old or the new file.
 * @param options.standby the current key stays: other machines must get the new key before it is used.
 * @returns its id, and the id of the key that is current from now on.
 * @throws DocumentError if an existing file is invalid; errno.
 */
export async function addKey(
  file: string,
  options: { readonly standby: boolean; readonly today: string },
): Promise<{ readonly id: string; readonly current: string; readonly made: boolean }> {
  return changing(file, async (text) => {
    const known = text === undefined ? undefined : keysOf(text, file);
    const id = freeId(options.today, known?.keys);
    const current = options.standby && known ? known.current : id;
    const document = text === undefined ? new Document({ current, keys: {} }) : parseDocument(text);
    if (text === undefined) document.commentBefore = MEANING;
    document.set('current', current);
    document.setIn(['keys', id], randomBytes(KEY_BYTES).toString('base64'));
    return { text: String(document), result: { id, current, made: text === undefined } };
  });
}

/** Makes another key of the file the current one. @throws DocumentError; {@link UnknownKeyError}; errno. */
export async function useKey(file: string, id: string): Promise<void> {
  await changing(file, async (text) => {
    if (text === undefined) throw missingFile(file);
    const { keys } = keysOf(text, file);
    if (!keys.has(id)) throw new UnknownKeyError(`${file} has no key ${id}; it has: ${[...keys.keys()].join(', ')}`);
    const document = parseDocument(text);
    document.set('current', id);
    return { text: String(document), result: undefined };
  });
}

const MEANING = ` Keys of Farshore: they encrypt the data in Temporal. \`current\` encrypts; the others decrypt older data.
 Without this file the data cannot be read: keep a copy in a safe place.`;

function keysOf(text: string, file: string): EncryptionKeys {
  const { value } = readDocument(text, file, keyFileSchema, findings, { secret: true });
  const keys = Object.entries(value.keys).map(([id, key]) => [id, Buffer.from(key, 'base64')] as const);
  return { current: value.current, keys: new Map(keys) };
}

function findings({ current, keys }: KeyFile): Finding[] {
  const ids = Object.keys(keys);
  if (!ids.every((id) => idPattern.test(id))) {
    return [
      {
        path: ['keys'],
        message: 'an id is a letter or digit, followed by up to 31 letters, digits, dots, dashes and underscores',
        remedy: 'write `<id>: <key>`, or create the file with `farshore keys new`',
      },
    ];
  }
  const wrong = ids.find((id) => !isKey(keys[id]!));
  if (wrong !== undefined) {
    return [
      {
        path: ['keys', wrong],
        message: `a key is ${KEY_BYTES} random bytes in base64, which are 44 characters`,
        remedy: 'restore the key from a copy of the file; make a new key with `farshore keys new`',
      },
    ];
  }
  if (Object.hasOwn(keys, current)) return [];
  return [
    {
      path: ['current'],
      message: `the file has no key with this id${ids.length > 0 ? `; it has: ${ids.join(', ')}` : ''}`,
      remedy: ids.length > 0 ? 'use one of those ids' : 'make a key with `farshore keys new`',
    },
  ];
}

function isKey(text: string): boolean {
  const bytes = Buffer.from(text, 'base64');
  return bytes.length === KEY_BYTES && bytes.toString('base64') === text;
}

/** Today's date, which is meaningful to people, with a number if the date is taken. */
function freeId(today: string, keys: ReadonlyMap<string, unknown> = new Map()): string {
  for (let number = 1; ; number += 1) {
    const id = number === 1 ? today : `${today}-${number}`;
    if (!keys.has(id)) return id;
  }
}

async function readText(file: string): Promise<string> {
  const handle = await open(file, 'r').catch((error: unknown) => {
    throw (error as NodeJS.ErrnoException).code === 'ENOENT' ? missingFile(file) : unreadable(file, error);
  });
  try {
    // Of the open file, because its name may belong to another file a moment later.
    const { mode } = await handle.stat();
    if ((mode & READABLE_BY_OTHERS) !== 0) {
      const shown = (mode & 0o777).toString(8).padStart(4, '0');
      const problem = `users other than its owner may access the key file (mode ${shown})`;
      throw new DocumentError(file, 1, '(file)', problem, undefined, `chmod 600 ${shellWord(file)}`);
    }
    return await handle.readFile('utf8');
  } catch (error) {
    throw error instanceof DocumentError ? error : unreadable(file, error);
  } finally {
    await handle.close();
  }
}

const missingFile = (file: string) =>
  new DocumentError(
    file,
    1,
    '(file)',
    'the key file does not exist',
    undefined,
    `create it with \`farshore keys new --file ${shellWord(file)}\`, restore it from a copy, or correct ${KEY_FILE_VARIABLE}`,
  );

const unreadable = (file: string, error: unknown) =>
  new DocumentError(
    file,
    1,
    '(file)',
    `the key file cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)})`,
    undefined,
    'use a file that the user of this process owns',
  );

/** One change at a time, also across processes: the lock is that of the folder, because the file is replaced. */
async function changing<T>(
  file: string,
  change: (text: string | undefined) => Promise<{ readonly text: string; readonly result: T }>,
): Promise<T> {
  // A link, as some tools for distributing secrets create, stays a link.
  const target = await realpath(file).catch(() => undefined);
  const folder = await open(path.dirname(target ?? file), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    if (!tryLockFile(folder.fd, 'exclusive')) {
      const problem = 'another command is changing the key file';
      throw new DocumentError(file, 1, '(file)', problem, undefined, 're-run this command once that one has ended');
    }
    const { text, result } = await change(target === undefined ? undefined : await readText(target));
    await replace(target ?? file, text);
    return result;
  } finally {
    await folder.close();
  }
}

async function replace(file: string, text: string): Promise<void> {
  const temporary = `${file}.${process.pid}.new`;
  const handle = await open(temporary, 'wx', 0o600);
  try {
    try {
      await keepOwner(file, handle);
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(path.dirname(file));
}

/** The operator who adds a key is not always the user as which the workers run. */
async function keepOwner(file: string, made: FileHandle): Promise<void> {
  const before = await open(file, 'r').catch(() => undefined);
  if (!before) return;
  const { uid, gid } = await before.stat();
  await before.close();
  const own = await made.stat();
  if (own.uid !== uid || own.gid !== gid) await made.chown(uid, gid);
}
