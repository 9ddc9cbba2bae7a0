import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import { objectsContract } from '../contracts/objects.js';
import { pageBlobsContract } from '../contracts/page-blobs.js';
import { replicaDisksContract } from '../contracts/replica-disks.js';

const makeStore = async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'farshore-store-'));
  onTestFinished(async () => await rm(folder, { recursive: true, force: true }));
  return { open: async () => await EmbeddedReplicaStore.open(path.join(folder, 'store'), { create: true }) };
};

objectsContract('embedded', makeStore);
pageBlobsContract('embedded', makeStore);
replicaDisksContract('embedded', makeStore);
