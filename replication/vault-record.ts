/** The small JSON objects of the vault, checked against their schema both ways. */
import type { z } from 'zod';
import { CatalogueError } from '../domain/errors.js';
import type { ReplicaStore } from '../sites/ports.js';

/** @throws CatalogueError InvalidReplicaState when the object is there but is not what it should be. */
export async function readRecord<S extends z.ZodType>(
  store: Pick<ReplicaStore, 'getObject'>,
  name: string,
  schema: S,
): Promise<z.infer<S> | undefined> {
  const data = await store.getObject(name);
  if (data === undefined) return undefined;
  let raw: unknown;
  try {
    raw = JSON.parse(data.toString('utf8'));
  } catch (error) {
    throw new CatalogueError('InvalidReplicaState', `${name} is not JSON`, { cause: error });
  }
  const parsed = schema.safeParse(raw);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new CatalogueError('InvalidReplicaState', `${name}: ${issue.path.join('.')}: ${issue.message}`);
}

/** Indented, as people read these when everything else is gone. */
export const encodeRecord = <S extends z.ZodType>(schema: S, value: z.infer<S>): Buffer =>
  Buffer.from(`${JSON.stringify(schema.parse(value), undefined, 2)}\n`);
