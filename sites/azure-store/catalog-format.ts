/**
 * The catalog of a scope: one small blob that lists the objects and page blobs of the scope, the blobs with their
 * contents, and the fence. It is replaced as a whole, and only by a writer that has read the version it replaces
 * (`If-Match`). So changes have one order that all processes see, and a writer that has not seen a fence cannot add
 * anything after it.
 *
 * Contents are stored beside their names: the object `vms/db-01/applied.json` in `vms/db-01/applied~3f21c09ab4d5.json`.
 * A blob that no catalog names does not exist for readers: it is an unfinished upload, or has been replaced by a later
 * one.
 */
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { CatalogueError } from '../../domain/errors.js';
import { fenceSchema, type Fence } from '../../domain/fence.js';
import { NO_FENCE } from '../write-fence.js';

const bytes = z.int().min(0);

const objectEntrySchema = z.object({ blob: z.string(), length: bytes });
const pageBlobEntrySchema = z.object({
  blob: z.string(),
  /** Bytes. */
  size: bytes,
  /** Number of snapshots ever taken, which is the next one's id. */
  taken: z.int().min(0),
  snapshots: z.array(
    z.object({
      id: z.string(),
      /** The service's identifier of the snapshot. */
      time: z.string(),
      /** Size of the blob at that time, bytes. */
      size: bytes,
    }),
  ),
});

const catalogSchema = z.object({
  format: z.literal('farshore catalog'),
  version: z.literal(1),
  scope: z.string(),
  fence: fenceSchema,
  /**
   * For each of the latest writers, its newest change as `writer/number`, the newest last. A writer that got no answer
   * to its change finds it here, however many changes others have made since.
   */
  changes: z.array(z.string()),
  objects: z.record(z.string(), objectEntrySchema),
  pageBlobs: z.record(z.string(), pageBlobEntrySchema),
});

export type ObjectEntry = Readonly<z.infer<typeof objectEntrySchema>>;
export type PageBlobEntry = Readonly<z.infer<typeof pageBlobEntrySchema>>;

/** A catalog in memory. Its entries are replaced, never modified. */
export interface Catalog {
  fence: Fence;
  changes: readonly string[];
  readonly objects: Map<string, ObjectEntry>;
  readonly pageBlobs: Map<string, PageBlobEntry>;
}

/** More than the number of writers that can come between an attempt and its repetition. */
const CHANGES_KEPT = 32;

/** The id of a change by a writer that makes one change at a time. */
export const changeId = (writer: string, number: number): string => `${writer}/${number}`;
const writerOf = (change: string): string => change.split('/', 1)[0]!;

export const CATALOG_FOLDER = '.catalogs/';
const ENDING = '.json';
export const catalogBlob = (scope: string): string => `${CATALOG_FOLDER}${scope}${ENDING}`;
/** The scope of the catalog in this blob. */
export const scopeOfCatalog = (blob: string): string => blob.slice(CATALOG_FOLDER.length, -ENDING.length);

export const emptyCatalog = (): Catalog => ({
  fence: NO_FENCE,
  changes: [],
  objects: new Map(),
  pageBlobs: new Map(),
});

export const copyOf = ({ fence, changes, objects, pageBlobs }: Catalog): Catalog => ({
  fence,
  changes,
  objects: new Map(objects),
  pageBlobs: new Map(pageBlobs),
});

export const rememberChange = (catalog: Catalog, change: string): void => {
  const others = catalog.changes.filter((other) => writerOf(other) !== writerOf(change));
  catalog.changes = [...others, change].slice(-CHANGES_KEPT);
};

/**
 * Whether a catalog remembers every writer that has changed it since an earlier version. If so, a writer that it does
 * not name has not changed it; otherwise that is unknown.
 */
export const remembersAllSince = (catalog: Catalog, earlier: Catalog): boolean =>
  catalog.changes.length < CHANGES_KEPT || catalog.changes.some((change) => earlier.changes.includes(change));

/** A blob, or a snapshot of it. */
export interface ContentBlob {
  readonly blob: string;
  /** The service's identifier of the snapshot. */
  readonly snapshot?: string | undefined;
}

const keyOf = ({ blob, snapshot = '' }: ContentBlob): string => `${blob}\n${snapshot}`;

/** The contents that a catalog names. */
export class NamedContents {
  readonly #keys = new Set<string>();

  constructor({ objects, pageBlobs }: Catalog) {
    for (const entry of objects.values()) this.#keys.add(keyOf(entry));
    for (const { blob, snapshots } of pageBlobs.values()) {
      this.#keys.add(keyOf({ blob }));
      for (const { time } of snapshots) this.#keys.add(keyOf({ blob, snapshot: time }));
    }
  }

  /** For a snapshot: whether both it and its blob are named. */
  has({ blob, snapshot }: ContentBlob): boolean {
    return this.#keys.has(keyOf({ blob })) && (snapshot === undefined || this.#keys.has(keyOf({ blob, snapshot })));
  }
}

export function encodeCatalog(scope: string, { fence, changes, objects, pageBlobs }: Catalog): Buffer {
  const content: z.infer<typeof catalogSchema> = {
    format: 'farshore catalog',
    version: 1,
    scope,
    fence,
    changes: [...changes],
    objects: Object.fromEntries(objects),
    pageBlobs: Object.fromEntries(pageBlobs),
  };
  return Buffer.from(JSON.stringify(content));
}

/** @throws CatalogueError InvalidReplicaState */
export function decodeCatalog(scope: string, content: Buffer): Catalog {
  const damaged = (cause: unknown) =>
    new CatalogueError('InvalidReplicaState', `${catalogBlob(scope)} is not a catalog that this version can read`, {
      cause,
    });
  let parsed: z.infer<typeof catalogSchema>;
  try {
    parsed = catalogSchema.parse(JSON.parse(content.toString()));
  } catch (error) {
    throw damaged(error);
  }
  if (parsed.scope !== scope) throw damaged(new Error(`it is of ${parsed.scope}`));
  const { fence, changes, objects, pageBlobs } = parsed;
  return {
    fence,
    changes,
    objects: new Map(Object.entries(objects)),
    pageBlobs: new Map(Object.entries(pageBlobs)),
  };
}

/** Each content gets a separate blob, so that a late write never changes content that is being read. */
export function newBlobName(name: string): string {
  const part = name.slice(name.lastIndexOf('/') + 1);
  const dot = part.lastIndexOf('.');
  const at = dot > 0 ? name.length - part.length + dot : name.length;
  return `${name.slice(0, at)}~${randomBytes(6).toString('hex')}${name.slice(at)}`;
}
