import { mkdir, stat } from 'node:fs/promises';
import path from 'node:path';

/**
 * Makes a folder and those that lead to it. Node's recursive mkdir would do, but never returns where a file system says
 * "no such file" of a new name in a folder that is there, as /proc does.
 * @param mode of the folder itself, where it is made; those that lead to it get the usual one.
 * @throws the errno of the folder that could not be made.
 */
export async function makeFolder(folder: string, mode = 0o777): Promise<void> {
  const parent = path.dirname(folder);
  if (parent !== folder && !(await isThere(parent))) await makeFolder(parent);
  try {
    await mkdir(folder, mode);
  } catch (error) {
    // Of two who try at once one is told that it is there; so is whoever meets a file.
    if (await isFolder(folder)) return;
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw Object.assign(new Error(`cannot create a folder in ${parent}`, { cause: error }), {
      code: 'ENOENT',
      syscall: 'mkdir',
    });
  }
}

/** Whether there is anything of that name; what can't be looked at counts as not there. */
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
