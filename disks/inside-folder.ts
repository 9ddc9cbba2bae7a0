import { realpath } from 'node:fs/promises';
import path from 'node:path';

/** Whether a path, which need not exist, is a folder or leads into it, through any links. */
export async function isInside(folder: string, at: string): Promise<boolean> {
  const relative = path.relative(await realOf(folder), await realOf(at));
  return relative !== '..' && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative);
}

/** Resolves links in the part of the path that exists. */
async function realOf(at: string): Promise<string> {
  const absolute = path.resolve(at);
  try {
    return await realpath(absolute);
  } catch {
    const parent = path.dirname(absolute);
    return parent === absolute ? absolute : path.join(await realOf(parent), path.basename(absolute));
  }
}
