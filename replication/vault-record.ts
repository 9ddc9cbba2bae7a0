/**
 * The small JSON objects of the vault, checked against their schema when they are read and written. Each has a checksum
 * of itself: a record with a changed digit may still be valid, but name another cycle or snapshot.
 */
import { blake3 } from '@napi-rs/blake-hash';
import type { z } from 'zod';
import { CatalogueError } from '../domain/errors.js';
import type { Objects } from '../ports/objects.js';

/** @throws CatalogueError InvalidReplicaState if the object exists but is not valid. */
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
    // Written by hand, or before records had checksums: only the schema is checked.
    if (checksum !== checksumOf(value)) throw damaged('is damaged: its checksum does not match its content');
    raw = value;
  }
  const parsed = schema.safeParse(raw);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw damaged(`is invalid: ${issue.path.join('.')}: ${issue.message}`);
}

/** Indented, because people read these records when everything else is gone. */
export function encodeRecord<S extends z.ZodType>(schema: S, value: z.infer<S>): Buffer {
  const record = schema.parse(value) as object;
  return Buffer.from(`${JSON.stringify({ ...record, checksum: checksumOf(record) }, undefined, 2)}\n`);
}

/** Of the compact JSON, so that indentation does not matter. */
const checksumOf = (record: object): string => blake3(JSON.stringify(record)).toString('hex').slice(0, 32);
