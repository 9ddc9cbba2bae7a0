/** Lists the names of the objects in a store's folder. */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { JOURNALS } from '../blob-names.js';
import { unlessMissing } from './folder-errors.js';
import { isInternal, type StoreLayout } from './names.js';

/** @param folder empty, or ending with a slash. @param found receives the names that begin with the prefix. */
export async function collectNames(
  layout: StoreLayout,
  folder: string,
  prefix: string,
  found: string[],
): Promise<void> {
  const entries = await unlessMissing(readdir(path.join(layout.root, folder), { withFileTypes: true }), []);
  const names = new Set(entries.map((entry) => entry.name));
  for (const entry of entries) {
    const name = folder + entry.name;
    if (isInternal(entry.name) || layout.file(name) === layout.marker()) continue;
    if (entry.isDirectory()) {
      const inside = `${name}/`;
      if (inside.startsWith(prefix) || prefix.startsWith(inside)) await collectNames(layout, inside, prefix, found);
    } else if (name.startsWith(prefix) && !names.has(entry.name + JOURNALS)) found.push(name);
  }
}
