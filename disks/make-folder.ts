import { mkdir, stat } from 'node:fs/promises';
import path from 'node:path';

/**
 * Creates a folder and those that lead to it. Node's recursive mkdir never returns if a file system reports "no such
 * file" for a new name in an existing folder, as /proc does.
 * @param mode of the folder itself if it is created; the folders that lead to it get the default mode.
 * @throws the errno of the folder that could not be created.
 */
export async function makeFolder(folder: string, mode = 0o777): Promise<void> {
  const parent = path.dirname(folder);
  if (parent !== folder && !(await isThere(parent))) await makeFolder(parent);
  try {
    await mkdir(folder, mode);
  } catch (error) {
    // Of two parallel calls, one gets EEXIST, and so does a call for an existing file.
    if (await isFolder(folder)) return;
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw Object.assign(new Error(`cannot create a folder in ${parent}`, { cause: error }), {
      code: 'ENOENT',
      syscall: 'mkdir',
    });
  }
}

/** Whether anything with this name exists; a path that cannot be examined counts as missing. */
export const isThere = (at: string): Promise<boolean> =>
  stat(at).then(
    () => true,
    () => false,
  );

const isFolder = (at: string): Promise<boolean> =>
  stat(at).then(
    (found) => found.isDirectory(),
    () => false,
  );
