/** What both stores with page blobs hold below their replica disks: nothing gets in by a name, or by another scope's fence. */
import { describe, expect, test } from 'vitest';
import type { PageBlobs } from '../../sites/page-blobs.js';
import { failsWith } from '../support/fails-with.js';
import { readPages } from '../support/read-pages.js';

const NOW = { scope: 'vms/db-01', epoch: 1, sequence: 0 };

export function pageBlobsContract(
  name: string,
  makeStore: () => Promise<{ open(): Promise<{ readonly pageBlobs: PageBlobs }> }>,
): void {
  const opened = async (): Promise<PageBlobs> => (await (await makeStore()).open()).pageBlobs;

  describe(`${name}: page blobs`, () => {
    test.each(['', '..', '../outside', 'vms/db-01/../../outside', '/etc/passwd', 'vms//db-01', 'vms/db-01/.fence'])(
      'the name %j is refused everywhere',
      async (bad) => {
        const blobs = await opened();
        await failsWith('InvalidReplicaState', blobs.create(bad, 4096, NOW));
        await failsWith('InvalidReplicaState', blobs.resize(bad, 4096, NOW));
        await failsWith('InvalidReplicaState', blobs.size(bad));
        await failsWith('InvalidReplicaState', blobs.write(bad, [], NOW));
        await failsWith('InvalidReplicaState', readPages(blobs, bad, 0, 1));
        await failsWith('InvalidReplicaState', blobs.delete(bad, NOW));
        await failsWith('InvalidReplicaState', blobs.snapshot(bad, NOW));
      },
    );

    test('a write outside the scope of its fence is refused', async () => {
      const blobs = await opened();
      await expect(blobs.create('vms/db-02/x.vhd', 4096, NOW)).rejects.toThrow('vms/db-01');
      await expect(blobs.create('vms/db-011/x.vhd', 4096, NOW)).rejects.toThrow('vms/db-01');
      await expect(blobs.delete('vms/db-02/x.vhd', NOW)).rejects.toThrow('vms/db-01');
      expect(await blobs.size('vms/db-02/x.vhd')).toBeUndefined();
    });
  });
}
