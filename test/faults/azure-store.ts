/** A storage account that can be made to misbehave: Azurite, behind a proxy. */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BlobServiceClient } from '@azure/storage-blob';
import { Azurite } from '../../client/demo/azurite.js';
import { fetchReplica } from '../../client/demo/replica-file.js';
import { vaultPaths } from '../../domain/vault.js';
import { exportFromVault, readVault } from '../../local/local-vault.js';
import { openReplicaStore } from '../../local/open-replica-store.js';
import { StoreProxy, type ProxiedRequest } from '../support/store-proxy.js';
import { chooseRecord, cutShort } from './damaged-record.js';
import type { StoreUnderTest } from './store-under-test.js';

const CONTAINER = 'vault-01';
const CONNECTION_STRING = 'FARSHORE_STORE_CONNECTION_STRING';
/** What a slow store adds to each write, ms. */
const SLOW_MS = 250;

/** @param folder for what is fetched from it. */
export async function azureStore(folder: string): Promise<StoreUnderTest> {
  // In memory: nobody kills it here, as it loses what it has acknowledged.
  const azurite = await Azurite.start();
  const proxy = await StoreProxy.start(azurite.url);
  const address = { kind: 'azure', url: `${proxy.url}/${CONTAINER}` } as const;
  const before = process.env[CONNECTION_STRING];
  // For this process, and those of the instance.
  const environment = { [CONNECTION_STRING]: azurite.connectionString(proxy.url) };
  Object.assign(process.env, environment);
  const direct = BlobServiceClient.fromConnectionString(azurite.connectionString()).getContainerClient(CONTAINER);

  let isAway = false;
  let isBusy = false;
  const held = new Map<string, Promise<void>>();
  const slowed = new Set<string>();
  proxy.treat = async (request) => {
    const vm = writtenBelow(request);
    if (vm !== undefined) await held.get(vm);
    if (isAway) return 'cutBefore';
    if (isBusy) return { busy: 1 };
    return vm !== undefined && slowed.has(vm) ? { delayMs: SLOW_MS } : 'forward';
  };
  const store = () => openReplicaStore(address);
  return {
    siteText: `{ kind: azure, url: '${address.url}' }`,
    environment,
    arguments: ['--store', address.url],
    cut() {
      isAway = true;
      proxy.cutAll();
      return Promise.resolve();
    },
    reach() {
      isAway = false;
      return Promise.resolve();
    },
    refuse() {
      isBusy = true;
      return Promise.resolve();
    },
    accept() {
      isBusy = false;
      return Promise.resolve();
    },
    refusal: 'StoreUnreachable',
    hold(vm) {
      let release!: () => void;
      held.set(vm, new Promise<void>((resolve) => (release = resolve)));
      return Promise.resolve(() => {
        held.delete(vm);
        release();
        return Promise.resolve();
      });
    },
    slow(vm) {
      slowed.add(vm);
      return Promise.resolve(() => {
        slowed.delete(vm);
        return Promise.resolve();
      });
    },
    replica: (vm, name) => fetchReplica(direct, { vm, name }, folder),
    async points(vm) {
      const { vms } = await readVault(address);
      return vms.find((candidate) => candidate.vm === vm)?.points ?? [];
    },
    async exportPoint(vm, wanted, to) {
      await mkdir(path.dirname(to), { recursive: true });
      await exportFromVault(address, { vm, wanted, folder: to, onDisk: () => undefined });
    },
    async epoch(vm) {
      await sleep(20);
      const opened = await store().catch(() => undefined);
      return (await opened?.objects.readFence(vaultPaths.vm(vm)))?.epoch ?? 0;
    },
    async received(vm, epoch, sequence) {
      const opened = await store();
      return (await opened.objects.get(vaultPaths.manifest(vm, epoch, sequence))) !== undefined;
    },
    async damage(vm, chance) {
      const names: string[] = [];
      for await (const { name } of direct.listBlobsFlat({ prefix: `${vaultPaths.vm(vm)}/` })) names.push(name);
      const name = chooseRecord(names, chance);
      if (name === undefined) return undefined;
      const blob = direct.getBlockBlobClient(name);
      const content = await blob.downloadToBuffer();
      await blob.uploadData(content.subarray(0, cutShort(content.length, chance)));
      return name;
    },
    async stop() {
      if (before === undefined) delete process.env[CONNECTION_STRING];
      else process.env[CONNECTION_STRING] = before;
      await proxy.stop();
      await azurite.stop();
    },
  };
}

/** The VM that a request would write something of: content, pages, or its catalog. Raising a fence is no such thing. */
function writtenBelow({ method, url }: ProxiedRequest): string | undefined {
  if ((method !== 'PUT' && method !== 'DELETE') || url.includes('comp=properties')) return undefined;
  const [, vm] = /\/vms(?:\/|%2F)([^/%?.]+)/.exec(url) ?? [];
  return vm;
}
