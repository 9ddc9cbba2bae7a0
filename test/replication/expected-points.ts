/** Each recovery point of a store holds what its model held at the time. */
import { expect } from 'vitest';
import { listRecoveryPoints } from '../../replication/recovery-points.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { VM, type Model } from './model.js';
import { readDisk } from '../support/replica-disks.js';

export const contents = (model: Model) =>
  new Map([...model.disks].map(([name, content]) => [name, Buffer.from(content)]));

export async function expectPoints(
  store: ReplicaStore,
  states: ReadonlyMap<string, Map<string, Buffer>>,
): Promise<void> {
  const points = await listRecoveryPoints(store, VM);
  expect(points.map(({ id }) => id)).toEqual([...states.keys()]);
  for (const { id, disks } of points) {
    for (const { name, snapshot } of disks) {
      const content = states.get(id)!.get(name)!;
      const found = await readDisk(store.disks, { vm: VM, disk: name }, 0, content.length, snapshot);
      expect(found.equals(content), `${id} ${name}`).toBe(true);
    }
  }
}
