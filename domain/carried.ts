/**
 * Reads state that another version of the code wrote and that a workflow carries from run to run. After a rollback the
 * state has fields that this code does not know. They are kept through every run, so that newer code finds them again.
 */
import type { z } from 'zod';

type Path = readonly PropertyKey[];

/** Parses like the schema, but keeps unknown fields, at any depth, even if the schema is strict. */
export function readCarried<S extends z.ZodType>(schema: S, raw: unknown): z.ZodSafeParseResult<z.infer<S>> {
  const read = schema.safeParse(raw);
  if (read.success) return { success: true, data: withUnknown(read.data, raw) as z.infer<S> };
  const unknown = unknownFields(read.error.issues);
  if (!unknown) return read;
  const known = copyOf(raw);
  for (const path of unknown) remove(known, path);
  const reread = schema.safeParse(known);
  return reread.success ? { success: true, data: withUnknown(reread.data, raw) as z.infer<S> } : read;
}

/** Finds where strict schemas met unknown fields. @returns undefined if there are other problems too. */
function unknownFields(issues: readonly z.core.$ZodIssue[], at: Path = []): Path[] | undefined {
  const found: Path[] = [];
  for (const issue of issues) {
    const path = [...at, ...issue.path];
    if (issue.code === 'unrecognized_keys') found.push(...issue.keys.map((key) => [...path, key]));
    else if (issue.code === 'invalid_union') {
      const ofOneOption = issue.errors.map((errors) => unknownFields(errors, path)).find((paths) => paths?.length);
      if (!ofOneOption) return undefined;
      found.push(...ofOneOption);
    } else return undefined;
  }
  return found;
}

function remove(from: unknown, path: Path): void {
  const parent = path.slice(0, -1).reduce<unknown>((value, key) => (isObject(value) ? value[key] : undefined), from);
  if (isObject(parent)) delete parent[path.at(-1)!];
}

function withUnknown(read: unknown, raw: unknown): unknown {
  if (Array.isArray(read) && Array.isArray(raw)) {
    return read.length === raw.length ? read.map((value, index) => withUnknown(value, raw[index])) : read;
  }
  if (!isObject(read) || !isObject(raw) || Array.isArray(read) || Array.isArray(raw)) return read;
  const known = Object.entries(read).map(([key, value]) => [key, withUnknown(value, raw[key])]);
  return { ...raw, ...Object.fromEntries(known) };
}

/** Copies by way of JSON, because state is plain JSON. */
const copyOf = (value: unknown): unknown => (value === undefined ? undefined : JSON.parse(JSON.stringify(value)));

const isObject = (value: unknown): value is Record<PropertyKey, unknown> => typeof value === 'object' && value !== null;
