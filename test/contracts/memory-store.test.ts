/** The contracts ask of a store what the ports promise, and nothing that only page blobs can do. */
import { MemoryStore } from './memory-store.js';
import { objectsContract } from './objects.js';
import { replicaDisksContract } from './replica-disks.js';

const makeStore = async () => {
  const memory = new MemoryStore();
  return { open: async () => memory.open() };
};

objectsContract('in memory', makeStore);
replicaDisksContract('in memory', makeStore);
