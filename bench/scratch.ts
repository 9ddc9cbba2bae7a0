/** Folders for a bench's files. They are removed when the bench ends in any way but SIGKILL. */
import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

const folders = new Set<string>();

process.on('exit', () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** @param parent decides which file system is measured. */
export async function withScratch<T>(work: (folder: string) => Promise<T>, parent: string = tmpdir()): Promise<T> {
  const folder = await mkdtemp(path.join(parent, 'farshore-bench-'));
  folders.add(folder);
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
    folders.delete(folder);
  }
}
