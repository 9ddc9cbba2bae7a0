import { open } from 'node:fs/promises';

/**
 * Makes the names in a folder durable: creating, renaming or removing a file survives the loss of the machine only
 * after this.
 */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
