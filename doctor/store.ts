/** Checks of the replica store: does it exist, is it writable from here, is there space, does its clock agree? */
import { randomUUID } from 'node:crypto';
import { mkdir, rm, stat, statfs, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { counted } from '../domain/counted.js';
import { formatBytes } from '../domain/bytes.js';
import { CatalogueError, failureCatalogue } from '../domain/errors.js';
import type { DiskFormat, Site } from '../domain/site.js';
import { formatDuration, toSecond } from '../domain/time.js';
import { formatStoreAddress } from '../domain/store-address.js';
import { surveyVault } from '../replication/vault-survey.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { openDisk } from '../disks/open-disk.js';
import { MARKER } from '../sites/blob-names.js';
import { sasEnd } from '../sites/azure-store/credentials.js';
import type { DataFolder } from '../config/data-folder.js';
import type { LoadedSite } from '../config/site-file.js';
import { VaultStore } from '../local/vault-store.js';
import { privacyCheck } from './privacy.js';
import { ok, problem, skipped, warning, type Check, type Finding } from './check.js';
import { clockFinding } from './temporal.js';

/** How to check a store; one implementation for each kind of store. */
export interface StoreAccess {
  /** Kind and place, as in "the store in /vault". */
  readonly where: string;
  /** @throws CatalogueError */
  open(): Promise<ReplicaStore>;
  /** Bytes; undefined if the store has no limit. */
  freeBytes?(): Promise<number>;
  /** Sends a request without effect. @returns its time by the store's own clock, ms. */
  touch?(): Promise<number>;
  /** When the credentials expire, ms since 1970, and where they come from; undefined if no expiry is known. */
  credentialsEnd?(): { readonly at: number; readonly from: string } | undefined;
}

/** Credentials that expire within this time are reported, ms: an operator needs time to replace them. */
const ENDS_SOON_MS = 7 * 24 * 60 * 60_000;

/** Below this, a store counts as full: cycles and undo journals need free space. Bytes. */
const LEAST_FREE = 1024 ** 3;

/** The access to the store of a site file. */
export function storeAccessOf(site: Site, data: DataFolder): StoreAccess {
  const { store } = site.vault;
  const access = {
    where: `the store in ${formatStoreAddress(store)}`,
    open: () => new VaultStore(data, site).open({ remember: false }),
  };
  return store.kind === 'embedded' ? { ...access, ...ofFolder(store.path) } : { ...access, ...ofAccount(store.url) };
}

const ofAccount = (url: string): Pick<StoreAccess, 'touch' | 'credentialsEnd'> => ({
  credentialsEnd: () => sasEnd(process.env),
  touch: async () => {
    const { serviceTime } = await import('../sites/azure-store/store-access.js');
    return await serviceTime(url);
  },
});

function ofFolder(folder: string): Pick<StoreAccess, 'freeBytes' | 'touch'> {
  return {
    freeBytes: async () => {
      const { bavail, bsize } = await statfs(folder);
      return bavail * bsize;
    },
    touch: async () => {
      // Leaves the empty folder of a file system that is not mounted unchanged.
      await stat(path.join(folder, MARKER));
      // The store's folder for unfinished files: a file that a killed doctor leaves here is cleaned up.
      const temporary = path.join(folder, '.tmp');
      const file = path.join(temporary, `doctor-${randomUUID()}`);
      await mkdir(temporary, 0o700).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
      });
      try {
        await writeFile(file, '', { mode: 0o600 });
        return (await stat(file)).mtimeMs;
      } finally {
        await rm(file, { force: true });
      }
    },
  };
}

/** @param access how to check the site's store. */
export function storeChecks({ site, file }: LoadedSite, access: StoreAccess): Check[] {
  const by = `vault.store of ${file}`;
  const { where } = access;
  return [
    {
      name: 'Store',
      run: async () => {
        let store: ReplicaStore;
        try {
          store = await access.open();
        } catch (error) {
          if (!(error instanceof CatalogueError)) throw error;
          return problem(error.message, failureCatalogue[error.code].remedy, by);
        }
        try {
          const { vms, unreadable } = await surveyVault(store);
          const [first] = unreadable;
          if (first) {
            const remedy = 'inspect the store; `farshore vault list` shows the errors';
            return problem(
              `${where} holds VMs that can't be read: ${unreadable.map(({ vm }) => vm).join(', ')}`,
              remedy,
              by,
            );
          }
          const damaged = vms.filter((vm) => vm.damaged.length > 0);
          if (damaged.length > 0) {
            const { problem: what } = damaged[0]!.damaged[0]!;
            return warning(
              `${where} holds damaged records of ${damaged.map(({ vm }) => vm).join(', ')}: ${what}`,
              'undamaged data is not affected; `farshore vault list` lists all damaged records; check the storage below the store',
              by,
            );
          }
          return ok(`${where} answers and holds replicas of ${counted(vms.length, 'VM')}`, by);
        } finally {
          await store.close();
        }
      },
    },
    {
      name: "Store's clock",
      run: async () => {
        const { touch } = access;
        if (!touch) return skipped('the store does not report its time');
        const begun = Date.now();
        try {
          const at = await touch();
          const within = (Date.now() - begun) / 2;
          return clockFinding({ ms: at - begun - within, within }, `the clock of ${where}`);
        } catch (error) {
          // The check of the store reports it.
          if (error instanceof CatalogueError) return skipped('unknown; see the check "Store"');
          const { code } = error as NodeJS.ErrnoException;
          if (code === 'ENOENT') return skipped('unknown: there is no store');
          return problem(
            `${where} can't be written to: ${code}`,
            'give this user write access, and check that there is free space',
            by,
          );
        }
      },
    },
    ...(access.credentialsEnd ? [{ name: 'Store credentials', run: () => Promise.resolve(endFinding(access)) }] : []),
    { name: 'Space at the store', run: () => spaceFinding(site, access, by) },
    ...(site.vault.store.kind === 'embedded' ? [privacyCheck('Privacy of the store', site.vault.store.path, by)] : []),
  ];
}

function endFinding({ credentialsEnd }: StoreAccess): Finding {
  try {
    const end = credentialsEnd?.();
    if (!end) return skipped('their expiry is unknown');
    const { at, from } = end;
    const left = at - Date.now();
    if (left <= 0) return skipped('the SAS has expired; see the check "Store"');
    const message = `the SAS of ${from} expires in ${formatDuration(left)}, at ${toSecond(new Date(at).toISOString())}`;
    if (left > ENDS_SOON_MS) return ok(message);
    return warning(
      message,
      'make a new SAS and give it to every worker of the roles azure and host; workers that read it from a file pick it up, restart the others',
    );
  } catch (error) {
    // The check of the store reports it.
    if (error instanceof CatalogueError) return skipped('unknown; see the check "Store"');
    throw error;
  }
}

async function spaceFinding(site: Site, access: StoreAccess, by: string): Promise<Finding> {
  if (!access.freeBytes) return skipped('the size of the store is unknown');
  const free = await access.freeBytes().catch(() => undefined);
  if (free === undefined) return skipped('unknown: there is no store');
  const remedy = 'free space there, or enlarge the volume';
  const message = `${formatBytes(free)} free at ${access.where}`;
  if (free < LEAST_FREE) return problem(`only ${message}`, remedy, by);
  const wanted = await firstReplicas(site, access);
  if (free >= wanted) return ok(message, by);
  return warning(`${message}, but VMs without a replica have disks of ${formatBytes(wanted)}`, remedy, by);
}

/** Bytes of the disks that have no replica yet, as far as they can be read from here. */
async function firstReplicas({ vms }: Site, access: StoreAccess): Promise<number> {
  const store = await access.open().catch(() => undefined);
  const there = store ? (await surveyVault(store).catch(() => undefined))?.vms.map(({ vm }) => vm) : undefined;
  await store?.close();
  const disks = vms.filter(({ name }) => !there?.includes(name)).flatMap((vm) => vm.disks.filter((d) => !d.excluded));
  const sizes = await Promise.all(
    disks.map(async ({ path: file, format, size }) => size ?? (await sizeOf(file, format))),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

async function sizeOf(file: string, format: DiskFormat | undefined): Promise<number> {
  const disk = await openDisk(file, format, { readOnly: true }).catch(() => undefined);
  await disk?.close();
  return disk?.size ?? 0;
}
