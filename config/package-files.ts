/** Files that are part of the package in addition to its code: examples, schemas, package.json. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

/** Absolute path of a file of the package. @param name relative to its root. */
export const packageFile = (name: string): string => path.join(root(), name);

/** The version in package.json. */
export const packageVersion = (): string =>
  (JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as { version: string }).version;

/** Built code is one folder deeper than its source. */
function root(): string {
  let folder = import.meta.dirname;
  while (!existsSync(path.join(folder, 'package.json'))) {
    const above = path.dirname(folder);
    if (above === folder) throw new Error(`no package.json at or above ${import.meta.dirname}`);
    folder = above;
  }
  return folder;
}
