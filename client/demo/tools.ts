/** Finds the independent programs with which the demo verifies its result. */
import { access, constants } from 'node:fs/promises';
import path from 'node:path';

/** Folders of administrative tools that are not on every user's PATH. */
const MORE_FOLDERS = ['/usr/sbin', '/sbin', '/usr/local/sbin'];

/** @returns the program's path, or undefined if it is not installed. */
export async function findTool(name: string): Promise<string | undefined> {
  for (const folder of [...(process.env['PATH'] ?? '').split(path.delimiter), ...MORE_FOLDERS]) {
    const candidate = path.join(folder, name);
    const found = await access(candidate, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (folder !== '' && found) return candidate;
  }
  return undefined;
}
