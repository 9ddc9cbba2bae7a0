/**
 * A replica store that can be made to misbehave, one entry for each adapter: the fault suite and the soak run know no
 * more of a store than this.
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readFile, readdir, rename, stat, truncate } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestContext } from 'vitest';
import type { FailureCode } from '../../domain/errors.js';
import { fenceSchema } from '../../domain/fence.js';
import { vaultPaths } from '../../domain/vault.js';
import { withLock } from '../../sites/folder-store/scope-lock.js';
import { StoreLayout } from '../../sites/folder-store/names.js';
import { azureStore } from './azure-store.js';
import { chooseRecord, cutShort } from './damaged-record.js';
import { exportFromVault, readVault } from '../../local/local-vault.js';
import { leave, resize, smallFileSystem } from '../support/small-file-system.js';
import { replicaBlobName } from '../../sites/vhd-disks.js';

export interface StoreUnderTest {
  /** What `store:` is in a site file. */
  readonly siteText: string;
  /** What a command finds in its environment. */
  readonly environment: Readonly<Record<string, string>>;
  /** What `farshore vault` needs to be told of it. */
  readonly arguments: readonly string[];
  /** Nothing that is asked of it is answered, until {@link reach}. */
  cut(): Promise<void>;
  reach(): Promise<void>;
  /** What is to be written is refused, until {@link accept}; each adapter in its own way. */
  refuse(): Promise<void>;
  accept(): Promise<void>;
  /** What the VM then waits for. */
  readonly refusal: FailureCode;
  /** What is written below a VM waits, until it is let go: a store that is slow beyond measure. @returns what to call then. */
  hold(vm: string): Promise<() => Promise<void>>;
  /** What is written below a VM takes long, and gets there, until what is returned is called. */
  slow(vm: string): Promise<() => Promise<void>>;
  /** Path of a VHD file that holds the live replica of a disk, for other people's programs. */
  replica(vm: string, disk: string): Promise<string>;
  /** The recovery points of a VM, as `farshore vault list` tells them. */
  points(vm: string): Promise<readonly { readonly id: string; readonly time: string }[]>;
  /** What `farshore vault export` does, without a process for each point: writes each disk to `<folder>/<disk>.vhd`. */
  exportPoint(vm: string, point: string, folder: string): Promise<void>;
  /** The newest epoch that the store knows of a VM; 0 for none. */
  epoch(vm: string): Promise<number>;
  /** Has the VM's cycle been received whole? */
  received(vm: string, epoch: number, sequence: number): Promise<boolean>;
  /**
   * Damages what the store holds of a VM: a recovery point's record, or the manifest of a cycle, which ends early from then on.
   * @param chance in [0, 1) @returns its name; undefined when there is none.
   */
  damage(vm: string, chance: () => number): Promise<string | undefined>;
  /** Of an embedded store. */
  readonly folder?: string;
  stop(): Promise<void>;
}

export const storeAdapters = ['embedded', 'azure'] as const;
export type StoreAdapter = (typeof storeAdapters)[number];

/** @param folder of the site; what the store needs on this machine lies below it. */
export async function startStore(
  adapter: StoreAdapter,
  folder: string,
  context: Pick<TestContext, 'skip'>,
): Promise<StoreUnderTest> {
  switch (adapter) {
    case 'embedded':
      return embeddedStore(await smallFileSystem(path.join(folder, 'vault'), MEBIBYTES, context));
    case 'azure':
      return await azureStore(folder);
  }
}

const MEBIBYTES = 2048;

/** Milliseconds that each write below a VM may have to wait in a slow store, and the gap in which those that wait get on. */
const SLOW = { waits: 400, gap: 15 };

/** How often somebody was shut out of a scope, by its fence. */
function generationOf(fence: string): number {
  const text = existsSync(fence) ? readFileSync(fence, 'utf8') : '{}';
  return (JSON.parse(text) as { generation?: number }).generation ?? 0;
}

/** @param volume a small file system, so that it can be filled. */
async function embeddedStore(volume: string): Promise<StoreUnderTest> {
  const store = path.join(volume, 'store');
  const layout = new StoreLayout(store);
  await mkdir(store);
  const hold = async (vm: string): Promise<() => Promise<void>> => {
    let release!: () => void;
    const released = new Promise<void>((resolve) => (release = resolve));
    let ended!: Promise<void>;
    await new Promise<void>((held, failed) => {
      // The lock that writers take now: whoever raises a fence while it is held goes on to the next.
      const scope = vaultPaths.vm(vm);
      const lock = layout.scopeLock(scope, generationOf(layout.fence(scope)));
      ended = withLock(lock, 'exclusive', 60_000, async () => {
        held();
        await released;
      });
      ended.catch(failed);
    });
    return async () => {
      release();
      await ended;
    };
  };
  return {
    siteText: `{ kind: embedded, path: ${store} }`,
    environment: {},
    arguments: ['--store', store],
    cut: () => rename(store, `${store}.away`),
    reach: () => rename(`${store}.away`, store),
    refuse: () => leave(volume, 0),
    accept: () => resize(volume, MEBIBYTES),
    refusal: 'StoreFull',
    hold,
    async slow(vm) {
      let over = false;
      let release = await hold(vm);
      const pulses = (async () => {
        for (;;) {
          await sleep(SLOW.waits);
          await release();
          if (over) return;
          await sleep(SLOW.gap);
          release = await hold(vm);
        }
      })();
      return async () => {
        over = true;
        await pulses;
      };
    },
    replica: async (vm, disk) => layout.file(replicaBlobName(vm, disk)),
    async points(vm) {
      const { vms } = await readVault({ kind: 'embedded', path: store });
      return vms.find((candidate) => candidate.vm === vm)?.points ?? [];
    },
    async exportPoint(vm, wanted, folder) {
      await mkdir(path.dirname(folder), { recursive: true });
      await exportFromVault({ kind: 'embedded', path: store }, { vm, wanted, folder, onDisk: () => undefined });
    },
    async epoch(vm) {
      const text = await readFile(layout.fence(vaultPaths.vm(vm)), 'utf8').catch(() => undefined);
      return text === undefined ? 0 : fenceSchema.parse(JSON.parse(text)).epoch;
    },
    received: (vm, epoch, sequence) =>
      stat(layout.file(vaultPaths.manifest(vm, epoch, sequence))).then(
        () => true,
        () => false,
      ),
    async damage(vm, chance) {
      const root = layout.file(vaultPaths.vm(vm));
      const name = chooseRecord(
        (await readdir(root, { recursive: true })).map((below) => `${vaultPaths.vm(vm)}/${below}`),
        chance,
      );
      if (name === undefined) return undefined;
      const file = layout.file(name);
      await truncate(file, cutShort((await stat(file)).size, chance));
      return name;
    },
    folder: store,
    stop: () => Promise.resolve(),
  };
}
