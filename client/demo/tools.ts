/** Other people's programs that the demo asks for their opinion. */
import { access, constants } from 'node:fs/promises';
import path from 'node:path';

/** Where administrators' tools lie that are not on everybody's PATH. */
const MORE_FOLDERS = ['/usr/sbin', '/sbin', '/usr/local/sbin'];

/** @returns its path, or undefined when it is not installed. */
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
