/**
 * Reads and changes the catalog of one scope. Changes that are requested while another is in progress are made
 * together, in the order of the requests. A change is decided on the current catalog: if the catalog has changed
 * meanwhile, it is decided again, unless it may already have been made and that is unknown.
 */
import { randomBytes } from 'node:crypto';
import { CatalogueError } from '../../domain/errors.js';
import {
  catalogBlob,
  changeId,
  copyOf,
  decodeCatalog,
  emptyCatalog,
  encodeCatalog,
  rememberChange,
  remembersAllSince,
  type Catalog,
} from './catalog-format.js';
import type { Container } from './container.js';

/**
 * Changes the given catalog, or throws before it has changed anything.
 * @returns the result of `change`.
 */
export type Change<T> = (catalog: Catalog) => T;

interface Waiting {
  readonly decide: Change<unknown>;
  readonly settle: (outcome: Outcome) => void;
}
type Outcome = { readonly value: unknown } | { readonly error: unknown };

/** How many times a change is decided again, because other writers were faster, before it fails. */
const ATTEMPTS = 100;

export class ScopeCatalog {
  #known: { readonly catalog: Catalog; readonly etag: string | undefined } | undefined;
  #waiting: Waiting[] = [];
  #changing = false;
  #changesMade = 0;
  /** Identifies the writer of a change; this object makes one change at a time. */
  readonly #writer = randomBytes(6).toString('hex');
  readonly #blob: string;

  constructor(
    readonly scope: string,
    private readonly container: Container,
    private readonly onSent: (bytes: number) => void,
  ) {
    this.#blob = catalogBlob(scope);
  }

  /** The catalog as last seen; read if it was never seen. */
  async recent(): Promise<Catalog> {
    return this.#known?.catalog ?? (await this.read());
  }

  /** The current catalog. Do not modify it. */
  async read(): Promise<Catalog> {
    return (await this.#load()).catalog;
  }

  /** Whether anything was ever written to the scope. */
  async exists(): Promise<boolean> {
    return (this.#known ?? (await this.#load())).etag !== undefined;
  }

  /**
   * Resolves when the change is durable.
   * @throws the errors of `decide`; CatalogueError StoreUnreachable if it is unknown whether the change was made.
   */
  async change<T>(decide: Change<T>): Promise<T> {
    const outcome = await new Promise<Outcome>((settle) => {
      this.#waiting.push({ decide, settle });
      if (!this.#changing) void this.#work();
    });
    if ('error' in outcome) throw outcome.error;
    return outcome.value as T;
  }

  async #work(): Promise<void> {
    this.#changing = true;
    while (this.#waiting.length > 0) {
      const together = this.#waiting;
      this.#waiting = [];
      try {
        const outcomes = await this.#commit(together.map(({ decide }) => decide));
        for (const [index, { settle }] of together.entries()) settle(outcomes[index]!);
      } catch (error) {
        for (const { settle } of together) settle({ error });
      }
    }
    this.#changing = false;
  }

  async #commit(decisions: readonly Change<unknown>[]): Promise<Outcome[]> {
    let base = this.#known ?? (await this.#load());
    let isCurrent = base !== this.#known;
    let mayBeMade = false;
    for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
      const catalog = copyOf(base.catalog);
      const outcomes = decisions.map((decide) => outcomeOf(() => decide(catalog)));
      if (isSame(catalog, base.catalog)) {
        // Nothing has to be written, so check that the decision was made on the current catalog.
        if (isCurrent) return outcomes;
        const now = await this.#load();
        isCurrent = true;
        if (now.etag === base.etag) return outcomes;
        base = now;
        continue;
      }
      if (mayBeMade) {
        throw new CatalogueError(
          'StoreUnreachable',
          `${this.#blob}: a change got no answer, and too many later changes hide whether it was made`,
        );
      }
      const id = changeId(this.#writer, (this.#changesMade += 1));
      rememberChange(catalog, id);
      const replaces = base.etag === undefined ? 'nothing' : { etag: base.etag };
      const content = encodeCatalog(this.scope, catalog);
      this.onSent(content.length);
      const { etag, mayBeMade: mayBeThere } = await this.container.put(this.#blob, content, replaces);
      if (etag !== undefined) {
        this.#known = { catalog, etag };
        return outcomes;
      }
      const before = base.catalog;
      base = await this.#load();
      isCurrent = true;
      // The change was made, but the answer was lost; others may have changed the catalog since.
      if (base.catalog.changes.includes(id)) return outcomes;
      // A new decision might restore content that another writer has replaced and deleted since.
      mayBeMade = mayBeThere === true && !remembersAllSince(base.catalog, before);
    }
    throw new Error(`${this.#blob}: other writers were faster ${ATTEMPTS} times`);
  }

  async #load(): Promise<{ readonly catalog: Catalog; readonly etag: string | undefined }> {
    const known = this.#known;
    const found = await this.container.get(this.#blob, { known: known?.etag });
    if (found === 'unchanged') return known!;
    const loaded = found
      ? { catalog: decodeCatalog(this.scope, found.data), etag: found.etag }
      : { catalog: emptyCatalog(), etag: undefined };
    this.#known = loaded;
    return loaded;
  }
}

function outcomeOf(work: () => unknown): Outcome {
  try {
    return { value: work() };
  } catch (error) {
    return { error };
  }
}

/** Entries are replaced when they change, so identity is enough. */
function isSame(a: Catalog, b: Catalog): boolean {
  return a.fence === b.fence && sameEntries(a.objects, b.objects) && sameEntries(a.pageBlobs, b.pageBlobs);
}

const sameEntries = <T>(a: ReadonlyMap<string, T>, b: ReadonlyMap<string, T>): boolean =>
  a.size === b.size && [...a].every(([name, entry]) => b.get(name) === entry);
