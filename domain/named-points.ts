/**
 * Names that administrators give to recovery points. A name asked for travels with the cycle that holds everything
 * written up to the request; cycles asked for under two names give one point with both.
 */
import { z } from 'zod';
import { compareFences, fenceSchema, type Fence } from './fence.js';
import { nameSchema } from './ids.js';
import { recoveryPointId } from './vault.js';

/** A name must not look like another way to choose a point. */
export const tagSchema = nameSchema.refine((tag) => !/^\d{4,}-\d{8,}$|^latest(?:-|$)/.test(tag), {
  error: 'a name must not look like the id of a recovery point nor begin with "latest"',
});

/** A name that was asked for, and the first cycle that may carry it. */
export const tagRequestSchema = z.object({
  requestId: z.string(),
  tag: z.string(),
  ...fenceSchema.shape,
  /** The point is there: kept so that asking twice is harmless. */
  done: z.boolean(),
});
export type TagRequest = z.infer<typeof tagRequestSchema>;

/** A name and the point that has it. */
export const namedPointSchema = z.object({ tag: z.string(), id: z.string() });
export type NamedPoint = z.infer<typeof namedPointSchema>;

/** They are carried in every answer about the VM. */
const MAX_NAMES = 100;
const DONE_REMEMBERED = 20;

interface Names {
  readonly tagRequests?: readonly TagRequest[] | undefined;
  readonly namedPoints?: readonly NamedPoint[] | undefined;
}

/** Why a point can't have this name; undefined when it can. */
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

/** Asked for before with the same request id? */
export const tagRequestOf = ({ tagRequests = [] }: Names, requestId: string): TagRequest | undefined =>
  tagRequests.find((request) => request.requestId === requestId);

/** Open requests are all kept; of those that are done, the newest. */
export const withTagRequest = (requests: readonly TagRequest[], request: TagRequest): TagRequest[] => [
  ...requests.filter(({ done }) => done).slice(-DONE_REMEMBERED),
  ...requests.filter(({ done }) => !done),
  request,
];

/**
 * The names a cycle carries: all that were asked for up to it, in earlier epochs too, as a failover or a
 * resynchronization may have come between.
 */
export const tagsOfCycle = ({ tagRequests = [] }: Names, cycle: Fence): string[] =>
  tagRequests.filter((request) => isOpenAt(request, cycle)).map(({ tag }) => tag);

const afterTaggedCycle = (requests: readonly TagRequest[], cycle: Fence): TagRequest[] =>
  requests.map((request) => (isOpenAt(request, cycle) ? { ...request, done: true } : request));

const isOpenAt = (request: TagRequest, cycle: Fence): boolean => !request.done && compareFences(request, cycle) <= 0;

/** Its manifest has the names: the point will have them. Until the store has said so, that is where they are. */
export function afterTags(item: Names, cycle: Fence): { tagRequests?: TagRequest[]; namedPoints?: NamedPoint[] } {
  const id = recoveryPointId(cycle.epoch, cycle.sequence);
  const named = tagsOfCycle(item, cycle).map((tag) => ({ tag, id }));
  if (!item.tagRequests || named.length === 0) return {};
  return {
    tagRequests: afterTaggedCycle(item.tagRequests, cycle),
    namedPoints: [...(item.namedPoints ?? []), ...named],
  };
}

/** A VM whose points never had a name does not begin to say so. */
export const knownNames = (
  item: Names,
  namedPoints: readonly NamedPoint[] | undefined,
): { namedPoints?: NamedPoint[] } =>
  namedPoints && (namedPoints.length > 0 || item.namedPoints) ? { namedPoints: [...namedPoints] } : {};
