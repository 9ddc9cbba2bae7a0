import { open } from 'node:fs/promises';

/** Makes the names in a folder outlive the machine: what is created, renamed or removed is durable only once this is done. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
