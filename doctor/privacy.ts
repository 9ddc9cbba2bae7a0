/** Whether users other than the owner may read or change files in a folder with guests' data. */
import { lstat, readdir } from 'node:fs/promises';
import path from 'node:path';
import { shellWord } from '../domain/shell-word.js';
import { ok, skipped, warning, type Check } from './check.js';

/** Limit of entries to check: enough to find files left open by an older version or a careless copy. */
const MOST_ENTRIES = 20_000;
const OTHERS = 0o077;
const OTHERS_WRITE = 0o022;

/** @param by the setting that names the folder. */
export const privacyCheck = (name: string, folder: string, by: string): Check => ({
  name,
  run: async () => {
    const found = await firstOpen(folder).catch((error: NodeJS.ErrnoException) => error);
    if (found instanceof Error) {
      return skipped(found.code === 'ENOENT' ? `${folder} does not exist` : `${folder} can't be read: ${found.code}`);
    }
    if (found === undefined) return ok(`only its owner may access ${folder}`, by);
    const mode = found.mode.toString(8).padStart(4, '0');
    return warning(
      `users other than its owner may access ${found.file} (mode ${mode}), which holds guests' data and locks`,
      `chmod -R go= ${shellWord(folder)}`,
      by,
    );
  },
});

interface OpenEntry {
  readonly file: string;
  readonly mode: number;
}

/**
 * The first file that others may read, or folder they may change. A folder closed to others is not searched further.
 */
async function firstOpen(folder: string): Promise<OpenEntry | undefined> {
  const folders = [folder];
  let left = MOST_ENTRIES;
  for (let next = folders.shift(); next !== undefined; next = folders.shift()) {
    const mode = (await lstat(next)).mode & 0o777;
    if ((mode & OTHERS) === 0) continue;
    // Anyone who may write to a folder can replace and delete its files, whatever their modes.
    if ((mode & OTHERS_WRITE) !== 0) return { file: next, mode };
    for (const entry of await readdir(next, { withFileTypes: true })) {
      if ((left -= 1) < 0) return undefined;
      const file = path.join(next, entry.name);
      if (entry.isDirectory()) folders.push(file);
      if (!entry.isFile()) continue;
      const mode = (await lstat(file)).mode & 0o777;
      if ((mode & OTHERS) !== 0) return { file, mode };
    }
  }
  return undefined;
}
