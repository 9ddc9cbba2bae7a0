/** `job show --save-evidence`: what the vault keeps of the console and the screen of a test VM. */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Job } from '../../domain/job.js';
import type { StoreAddress } from '../../domain/store-address.js';
import { RefusedError } from '../errors.js';
import { waitingForStore } from './store-patience.js';
import { testFailoverResultOf } from './test-failover.js';

/**
 * Writes the files to a folder, which is created if necessary.
 * @returns their paths. @throws RefusedError if there are none, one is not as it was when it was kept, or exists there.
 */
export async function saveEvidence(address: StoreAddress, job: Job, folder: string): Promise<string[]> {
  const evidence = testFailoverResultOf(job)?.evidence ?? [];
  if (evidence.length === 0)
    throw new RefusedError(
      `${job.id}: there is no console or screen to save; only a test failover that has ended keeps them`,
    );
  const { readEvidence } = await import('../../local/local-vault.js');
  const names = evidence.map(({ name }) => name);
  const found = await waitingForStore(address, readEvidence(address, names));
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const saved: string[] = [];
  for (const { name, sha256 } of evidence) {
    const data = found.get(name);
    if (!data) throw new RefusedError(`${name} is missing in the store`);
    if (createHash('sha256').update(data).digest('hex') !== sha256)
      throw new RefusedError(`${name} was changed after the test: its SHA-256 digest is not that of the job's result`);
    const file = path.join(folder, path.posix.basename(name));
    await writeFile(file, data, { flag: 'wx', mode: 0o600 }).catch((error: Error) => {
      throw new RefusedError(`${file} cannot be written: ${error.message}`, { cause: error });
    });
    saved.push(file);
  }
  return saved;
}
