/** The site of the demo: three VMs with real file systems on their disks, described by a site file and a plan. */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, open, rm, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Range } from '../../domain/ranges.js';
import { findTool } from './tools.js';

const MiB = 1024 * 1024;
/** Bytes at the end of each disk, outside the file system, to which the demo's guests write continuously. */
const GUEST_REGION_BYTES = 32 * MiB;

export interface DemoDisk {
  readonly vm: string;
  readonly name: string;
  readonly file: string;
  readonly size: number;
  /** Bytes of random file contents in its directory tree. */
  readonly contentBytes: number;
  readonly folders: readonly string[];
  /** True if an ext4 file system was created on it. */
  fileSystem: boolean;
}

export const guestRegion = (disk: Pick<DemoDisk, 'size'>): Range => ({
  offset: disk.size - GUEST_REGION_BYTES,
  length: GUEST_REGION_BYTES,
});

export const demoDisks = (folder: string): DemoDisk[] => {
  const disk = (vm: string, name: string, size: number, contentBytes: number, folders: string[]): DemoDisk => ({
    vm,
    name,
    file: path.join(folder, 'disks', `${vm}-${name}.img`),
    size,
    contentBytes,
    folders,
    fileSystem: false,
  });
  return [
    disk('db-01', 'os', 256 * MiB, 48 * MiB, ['etc', 'usr/bin', 'usr/lib', 'var/log']),
    disk('db-01', 'data', 512 * MiB, 160 * MiB, ['base/16384', 'base/16385', 'pg_wal', 'pg_xact']),
    disk('app-01', 'os', 256 * MiB, 64 * MiB, ['etc', 'opt/app/bin', 'opt/app/lib', 'var/log']),
    disk('web-01', 'os', 256 * MiB, 40 * MiB, ['etc/nginx', 'srv/www/assets', 'srv/www/pages', 'var/log']),
  ];
};

export const demoPlan = {
  name: 'three-tier',
  groups: [
    { name: 'data', vms: ['db-01'] },
    { name: 'application', vms: ['app-01', 'web-01'] },
  ],
} as const;

const siteFileText = (store: string): string => `# The site of the demo.
vault:
  name: demo-vault
  store: ${store}
vmmServers:
  - name: vmm-01
    logicalNetworks: [{ name: corp }]
    vmNetworks:
      - { name: backend, logicalNetwork: corp }
      - { name: frontend, logicalNetwork: corp }
    clouds:
      - { name: production, logicalNetworks: [corp], hosts: [{ name: hyperv-01 }] }
azureNetworks:
  - { name: vnet-recovery, subnets: [backend, frontend] }
networkMappings:
  - { vmNetwork: backend, azureNetwork: vnet-recovery }
  - { vmNetwork: frontend, azureNetwork: vnet-recovery }
policies:
  - { name: gold, copyFrequency: 30s, recoveryPointRetentionHours: 2 }
vms:
  - name: db-01
    host: hyperv-01
    policy: gold
    disks:
      - { name: os, path: disks/db-01-os.img, os: true }
      - { name: data, path: disks/db-01-data.img }
    networkAdapters: [{ name: nic0, vmNetwork: backend }]
  - name: app-01
    host: hyperv-01
    policy: gold
    disks: [{ name: os, path: disks/app-01-os.img }]
    networkAdapters: [{ name: nic0, vmNetwork: backend }]
  - name: web-01
    host: hyperv-01
    policy: gold
    disks: [{ name: os, path: disks/web-01-os.img }]
    networkAdapters: [{ name: nic0, vmNetwork: frontend }]
`;

const planFileText = `name: ${demoPlan.name}
groups:
${demoPlan.groups.map((group) => `  - name: ${group.name}\n    vms: [${group.vms.join(', ')}]`).join('\n')}
`;

/**
 * Writes the site file, the plan and the disks.
 * @param store value of `store:` in the site file.
 * @returns the disks; if mke2fs is missing, they hold the contents without a file system.
 */
export async function makeDemoSite(folder: string, store: string): Promise<DemoDisk[]> {
  await mkdir(path.join(folder, 'disks'), { recursive: true });
  await writeFile(path.join(folder, 'site.yaml'), siteFileText(store));
  await writeFile(path.join(folder, 'plan.yaml'), planFileText);
  const mke2fs = await findTool('mke2fs');
  const disks = demoDisks(folder);
  for (const disk of disks) {
    await writeFile(disk.file, '');
    await truncate(disk.file, disk.size);
    if (mke2fs === undefined) await fillWithoutFileSystem(disk);
    else await makeFileSystem(mke2fs, disk, path.join(folder, 'trees', `${disk.vm}-${disk.name}`));
  }
  await rm(path.join(folder, 'trees'), { recursive: true, force: true });
  return disks;
}

async function makeFileSystem(mke2fs: string, disk: DemoDisk, tree: string): Promise<void> {
  const files = 12;
  const manifest: string[] = [];
  for (const folder of disk.folders) {
    await mkdir(path.join(tree, folder), { recursive: true });
    for (let index = 0; index < files; index += 1) {
      const content = randomBytes(Math.floor(disk.contentBytes / disk.folders.length / files));
      const name = path.join(folder, `${index}.bin`);
      await writeFile(path.join(tree, name), content);
      manifest.push(`${createHash('sha256').update(content).digest('hex')}  ${name}`);
    }
  }
  await writeFile(path.join(tree, 'SHA256SUMS'), `${manifest.join('\n')}\n`);
  const sizeKiB = (disk.size - GUEST_REGION_BYTES) / 1024;
  await promisify(execFile)(mke2fs, ['-q', '-F', '-t', 'ext4', '-L', disk.vm, '-d', tree, disk.file, `${sizeKiB}k`]);
  disk.fileSystem = true;
}

async function fillWithoutFileSystem(disk: DemoDisk): Promise<void> {
  const file = await open(disk.file, 'r+');
  try {
    for (let offset = 0; offset < disk.contentBytes; offset += MiB) await file.write(randomBytes(MiB), 0, MiB, offset);
  } finally {
    await file.close();
  }
}
