/**
 * Names that operators give to recovery points. A requested name travels with the cycle that holds everything written
 * before the request. If a cycle was requested under two names, its point gets both.
 */
import { z } from 'zod';
import { compareFences, fenceSchema, type Fence } from './fence.js';
import { nameSchema } from './ids.js';
import { recoveryPointId } from './vault.js';

/** A name must not look like another way of choosing a point. */
export const tagSchema = nameSchema.refine((tag) => !/^\d{4,}-\d{8,}$|^latest(?:-|$)/.test(tag), {
  error: 'a name must not look like the id of a recovery point nor begin with "latest"',
});

/** A requested name, and the first cycle that may carry it. */
export const tagRequestSchema = z.object({
  requestId: z.string(),
  tag: z.string(),
  ...fenceSchema.shape,
  /** The point exists; the request is remembered so that repeating it does no harm. */
  done: z.boolean(),
});
export type TagRequest = z.infer<typeof tagRequestSchema>;

/** A name and the point that has it. */
export const namedPointSchema = z.object({ tag: z.string(), id: z.string() });
export type NamedPoint = z.infer<typeof namedPointSchema>;

/** Limited, because every answer about the VM contains the names. */
const MAX_NAMES = 100;
const DONE_REMEMBERED = 20;

interface Names {
  readonly tagRequests?: readonly TagRequest[] | undefined;
  readonly namedPoints?: readonly NamedPoint[] | undefined;
}

/** Why no point can get this name; undefined if one can. */
export function tagRefusal({ tagRequests = [], namedPoints = [] }: Names, tag: string): string | undefined {
  const open = tagRequests.filter(({ done }) => !done);
  const point = namedPoints.find((named) => named.tag === tag);
  if (point) return `recovery point ${point.id} already has the name ${tag}; choose another name`;
  if (open.some((request) => request.tag === tag))
    return `a recovery point named ${tag} is already being made; choose another name`;
  if (open.length + namedPoints.length >= MAX_NAMES)
    return `${MAX_NAMES} recovery points already have names, which is the most; synchronize without a name`;
  return undefined;
}

/** The earlier request with the same request ID, if any. */
export const tagRequestOf = ({ tagRequests = [] }: Names, requestId: string): TagRequest | undefined =>
  tagRequests.find((request) => request.requestId === requestId);

/** Keeps all open requests, and the newest of those that are done. */
export const withTagRequest = (requests: readonly TagRequest[], request: TagRequest): TagRequest[] => [
  ...requests.filter(({ done }) => done).slice(-DONE_REMEMBERED),
  ...requests.filter(({ done }) => !done),
  request,
];

/**
 * The names that a cycle carries: all that were requested up to it. This includes requests of earlier epochs, because a
 * failover or a resynchronization may have come in between.
 */
export const tagsOfCycle = ({ tagRequests = [] }: Names, cycle: Fence): string[] =>
  tagRequests.filter((request) => isOpenAt(request, cycle)).map(({ tag }) => tag);

const afterTaggedCycle = (requests: readonly TagRequest[], cycle: Fence): TagRequest[] =>
  requests.map((request) => (isOpenAt(request, cycle) ? { ...request, done: true } : request));

const isOpenAt = (request: TagRequest, cycle: Fence): boolean => !request.done && compareFences(request, cycle) <= 0;

/**
 * The cycle's manifest carries the names, so its point will have them. This counts until the store reports the names
 * itself.
 */
export function afterTags(item: Names, cycle: Fence): { tagRequests?: TagRequest[]; namedPoints?: NamedPoint[] } {
  const id = recoveryPointId(cycle.epoch, cycle.sequence);
  const named = tagsOfCycle(item, cycle).map((tag) => ({ tag, id }));
  if (!item.tagRequests || named.length === 0) return {};
  return {
    tagRequests: afterTaggedCycle(item.tagRequests, cycle),
    namedPoints: [...(item.namedPoints ?? []), ...named],
  };
}

/** A VM whose points never had a name keeps the field absent. */
export const knownNames = (
  item: Names,
  namedPoints: readonly NamedPoint[] | undefined,
): { namedPoints?: NamedPoint[] } =>
  namedPoints && (namedPoints.length > 0 || item.namedPoints) ? { namedPoints: [...namedPoints] } : {};
