/**
 * The small JSON objects of the vault, checked against their schema both ways. Each carries a checksum of itself: a digit
 * that has changed makes a record that still reads well, of another cycle or another snapshot.
 */
import { blake3 } from '@napi-rs/blake-hash';
import type { z } from 'zod';
import { CatalogueError } from '../domain/errors.js';
import type { Objects } from '../ports/objects.js';

/** @throws CatalogueError InvalidReplicaState when the object is there but is not what it should be. */
export async function readRecord<S extends z.ZodType>(
  objects: Pick<Objects, 'get'>,
  name: string,
  schema: S,
): Promise<z.infer<S> | undefined> {
  const data = await objects.get(name);
  return data && decodeRecord(data, name, schema);
}

/** @throws CatalogueError InvalidReplicaState */
export function decodeRecord<S extends z.ZodType>(data: Buffer, name: string, schema: S): z.infer<S> {
  const damaged = (problem: string, cause?: unknown) =>
    new CatalogueError('InvalidReplicaState', `${name} ${problem}`, { cause });
  if (data.length === 0) throw damaged('is empty');
  let raw: unknown;
  try {
    raw = JSON.parse(data.toString('utf8'));
  } catch (error) {
    throw damaged('is not JSON', error);
  }
  if (typeof raw === 'object' && raw !== null && 'checksum' in raw) {
    const { checksum, ...value } = raw;
    // Written before records had one, or by hand: the schema alone speaks for it.
    if (checksum !== checksumOf(value)) throw damaged('is damaged: its checksum does not match its content');
    raw = value;
  }
  const parsed = schema.safeParse(raw);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw damaged(`is invalid: ${issue.path.join('.')}: ${issue.message}`);
}

/** Indented, as people read these when everything else is gone. */
export function encodeRecord<S extends z.ZodType>(schema: S, value: z.infer<S>): Buffer {
  const record = schema.parse(value) as object;
  return Buffer.from(`${JSON.stringify({ ...record, checksum: checksumOf(record) }, undefined, 2)}\n`);
}

/** Of the compact JSON, so that indentation does not count. */
const checksumOf = (record: object): string => blake3(JSON.stringify(record)).toString('hex').slice(0, 32);
