/**
 * Important records are kept twice: under their name, and below `second/` in the same scope. The first copy is written
 * first and deleted last, so a second copy without a first is what remains of a record that was lost. Either intact
 * copy is the record.
 */
import type { z } from 'zod';
import { CatalogueError } from '../domain/errors.js';
import { vaultPaths } from '../domain/vault.js';
import type { Objects, WriteFence } from '../ports/objects.js';
import { decodeRecord, readRecord } from './vault-record.js';

export interface KeptRecord<T> {
  readonly value: T;
  /** The fault of the other copy, if one was found. */
  readonly damaged?: string;
}

/** @throws CatalogueError InvalidReplicaState if no copy is intact, StoreUnreachable if none can be read. */
export async function readKept<S extends z.ZodType>(
  objects: Pick<Objects, 'get'>,
  name: string,
  schema: S,
): Promise<z.infer<S> | undefined> {
  return (await readKeptRecord(objects, name, schema))?.value;
}

/** As `readKept`; also says if it is the second copy. */
export async function readKeptRecord<S extends z.ZodType>(
  objects: Pick<Objects, 'get'>,
  name: string,
  schema: S,
): Promise<KeptRecord<z.infer<S>> | undefined> {
  const first = await readCopy(objects, name, schema);
  if ('value' in first) return first;
  const second = await readCopy(objects, vaultPaths.second(name), schema);
  if ('value' in second) return { ...second, damaged: first.damage?.detail ?? `${name} is missing` };
  const damage = [first, second].flatMap(({ damage: one }) => one ?? []);
  if (damage.length === 0) return undefined;
  throw damage.find(({ code }) => code === 'StoreUnreachable') ?? damage[0]!;
}

async function readCopy<S extends z.ZodType>(
  objects: Pick<Objects, 'get'>,
  name: string,
  schema: S,
): Promise<{ readonly value: z.infer<S> } | { readonly damage?: CatalogueError }> {
  try {
    const value = await readRecord(objects, name, schema);
    return value === undefined ? {} : { value };
  } catch (error) {
    return { damage: damageOf(error) };
  }
}

/** The faults of a copy because of which the other one is read. @throws any other error. */
function damageOf(error: unknown): CatalogueError {
  if (error instanceof CatalogueError && COPY_PROBLEMS.includes(error.code)) return error;
  throw error;
}

const COPY_PROBLEMS: readonly string[] = ['InvalidReplicaState', 'StoreUnreachable'];

/** Replaces both copies. */
export async function putKept(objects: Objects, name: string, data: Buffer, fence: WriteFence): Promise<void> {
  await objects.put(name, data, fence);
  await objects.put(vaultPaths.second(name), data, fence);
}

/** @returns false, and changes nothing, if the first copy exists. */
export async function putKeptIfAbsent(
  objects: Objects,
  name: string,
  data: Buffer,
  fence: WriteFence,
): Promise<boolean> {
  if (!(await objects.putIfAbsent(name, data, fence))) return false;
  await objects.put(vaultPaths.second(name), data, fence);
  return true;
}

/** The second copy must never exist alone: it would be taken for the rest of a lost record. */
export async function deleteKept(objects: Objects, name: string, fence: WriteFence): Promise<void> {
  await objects.delete(vaultPaths.second(name), fence);
  await objects.delete(name, fence);
}

/** Names of the records below a prefix of which at least one copy exists, sorted. */
export async function listKept(objects: Pick<Objects, 'list'>, prefix: string): Promise<string[]> {
  const seconds = vaultPaths.second(prefix);
  const lost = (await objects.list(seconds)).map((name) => prefix + name.slice(seconds.length));
  return [...new Set([...(await objects.list(prefix)), ...lost])].sort();
}

/**
 * Restores a missing or damaged copy from the intact one, so that there are two again before the next damage. Only for
 * a record that is replaced but never deleted while its fence holds. @returns whether a copy was restored.
 */
export async function mendKept<S extends z.ZodType>(
  objects: Objects,
  name: string,
  schema: S,
  fence: WriteFence,
): Promise<boolean> {
  const copies = [name, vaultPaths.second(name)];
  const found = await Promise.all(copies.map(async (copy) => wholeOrNothing(objects, copy, schema)));
  const whole = found.find((data) => data !== undefined);
  if (whole === undefined || !found.includes(undefined)) return false;
  await objects.put(copies[found.indexOf(undefined)]!, whole, fence);
  return true;
}

async function wholeOrNothing(objects: Objects, copy: string, schema: z.ZodType): Promise<Buffer | undefined> {
  const data = await objects.get(copy).catch(noCopy);
  if (data === undefined) return undefined;
  try {
    decodeRecord(data, copy, schema);
    return data;
  } catch (error) {
    return noCopy(error);
  }
}

/** An unreadable copy counts as missing. @throws any other error. */
export function noCopy(error: unknown): undefined {
  damageOf(error);
}
