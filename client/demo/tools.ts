/** Finds the programs that the demo uses: to boot its guests, and independent ones to verify its result. */
import { access, constants } from 'node:fs/promises';
import path from 'node:path';

/** Folders of administrative tools that are not on every user's PATH. */
const MORE_FOLDERS = ['/usr/sbin', '/sbin', '/usr/local/sbin'];

/** @param name its name, or an absolute path. @returns the program's path, or undefined if it is not installed. */
export async function findTool(name: string): Promise<string | undefined> {
  for (const folder of [...(process.env['PATH'] ?? '').split(path.delimiter), ...MORE_FOLDERS]) {
    const candidate = path.resolve(folder, name);
    const found = await access(candidate, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (folder !== '' && found) return candidate;
  }
  return undefined;
}
