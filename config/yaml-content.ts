/**
 * Checks the content of a YAML document before the library builds it: the library expands aliases without a limit, and
 * compares each field name with all others.
 */
import { isAlias, isMap, isNode, isPair, isScalar, isSeq, type Document, type Node } from 'yaml';

/**
 * Limit for the number of values with all aliases expanded: more than any site file has, and small enough for memory.
 */
const MAX_VALUES = 1_000_000;

/** Offset of the problem in the text, and its description. */
export interface ContentProblem {
  readonly offset: number;
  readonly problem: string;
  readonly remedy: string;
}

/** The first reason why the content of a document cannot be built. */
export function contentProblem(document: Document.Parsed): ContentProblem | undefined {
  const walk = new Walk();
  walk.sizeOf(document.contents);
  return walk.problem;
}

class Walk {
  problem: ContentProblem | undefined;
  /** The node that each anchor names at this place of the document: anchors may be redefined further down. */
  readonly #anchors = new Map<string, Node>();
  /** Number of values in each node; undefined while the node is being visited. */
  readonly #sizes = new Map<Node, number | undefined>();

  /** @returns number of values, with aliases expanded. */
  sizeOf(node: unknown): number {
    if (this.problem || !isNode(node)) return 1;
    if (isAlias(node)) return this.#target(node);
    if (node.anchor !== undefined) this.#anchors.set(node.anchor, node);
    this.#sizes.set(node, undefined);
    const size = isMap(node) ? this.#map(node) : isSeq(node) ? this.#sum(node.items) : 1;
    this.#sizes.set(node, size);
    if (size > MAX_VALUES) {
      this.#refuse(
        node,
        `its anchors and aliases expand to more than ${MAX_VALUES.toLocaleString('en')} values`,
        'use fewer aliases, and write the values out instead',
      );
    }
    return size;
  }

  #target(alias: Node & { source: string }): number {
    const { source } = alias;
    const target = this.#anchors.get(source);
    if (!target) {
      this.#refuse(
        alias,
        `the alias *${source} has no anchor`,
        `give an earlier value the anchor &${source}, or correct the name`,
      );
      return 1;
    }
    const size = this.#sizes.get(target);
    if (size === undefined) {
      this.#refuse(
        alias,
        `the alias *${source} refers to a value that contains it, which has no end`,
        'write the value out',
      );
    }
    return size ?? 1;
  }

  #map({ items }: { items: readonly unknown[] }): number {
    const names = new Set<unknown>();
    let size = 1;
    for (const pair of items) {
      if (!isPair(pair)) continue;
      const name = isScalar(pair.key) ? pair.key.value : undefined;
      // Several merges are allowed: each adds values to the same map.
      if (isNode(pair.key) && name !== undefined && name !== '<<') {
        if (names.has(name)) {
          const remedy = 'keep only one of them';
          this.#refuse(pair.key, `the field ${JSON.stringify(name).slice(0, 40)} appears twice`, remedy);
        }
        names.add(name);
      }
      size += this.sizeOf(pair.key) + this.sizeOf(pair.value);
    }
    return size;
  }

  #sum(items: readonly unknown[]): number {
    let size = 1;
    for (const item of items) size += this.sizeOf(item);
    return size;
  }

  #refuse(at: Node, problem: string, remedy: string): void {
    this.problem ??= { offset: at.range?.[0] ?? 0, problem, remedy };
  }
}
