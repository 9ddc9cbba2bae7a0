/** The site of the demo: three VMs with real file systems on their disks, described by a site file and a plan. */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, open, rm, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Range } from '../../domain/ranges.js';
import type { GuestImage } from './guest/guest-image.js';
import { findTool } from './tools.js';

const MiB = 1024 * 1024;
const GUEST_MEMORY_BYTES = 192 * MiB;
/** Between two transactions of a booted guest, microseconds: leaves the machine time for other work. */
const TRANSACTION_PAUSE_US = 1_000_000;
/** Bytes at the end of each disk, outside the file system, to which guests that are not booted write continuously. */
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

const networks = [
  { name: 'backend', vms: ['db-01', 'app-01'] },
  { name: 'frontend', vms: ['web-01'] },
] as const;

/** @param image what the VMs boot from; if undefined, they only serve their disks. */
export function siteFileText(store: string, disks: readonly DemoDisk[], image: GuestImage | undefined): string {
  const vms = [...new Set(disks.map(({ vm }) => vm))];
  const vmText = (vm: string) => {
    const own = disks.filter((disk) => disk.vm === vm);
    const network = networks.find((each) => (each.vms as readonly string[]).includes(vm))!.name;
    return [
      `  - name: ${vm}`,
      '    host: hyperv-01',
      '    policy: gold',
      '    disks:',
      ...own.map(
        ({ name, file }) => `      - { name: ${name}, path: disks/${path.basename(file)}, os: ${name === 'os'} }`,
      ),
      `    networkAdapters: [{ name: nic0, vmNetwork: ${network} }]`,
      ...(image ? guestLines(image, own) : []),
    ].join('\n');
  };
  return `# The site of the demo.
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
guests: ${image ? 'qemu' : 'exports'}
vms:
${vms.map(vmText).join('\n')}
`;
}

function guestLines({ kernel, initialRamDisk, commandLine }: GuestImage, disks: readonly DemoDisk[]): string[] {
  const words = `${commandLine} disks=${disks.map(({ name }) => name).join(',')} pause=${TRANSACTION_PAUSE_US}`;
  return [
    `    hardware: { processors: 1, memoryBytes: ${GUEST_MEMORY_BYTES} }`,
    '    directBoot:',
    `      kernel: ${JSON.stringify(kernel)}`,
    `      initialRamDisk: ${JSON.stringify(initialRamDisk)}`,
    `      commandLine: ${words}`,
    `    checks: [{ console: 'guest: ready', within: 3m }]`,
  ];
}

const planFileText = `name: ${demoPlan.name}
groups:
${demoPlan.groups.map((group) => `  - name: ${group.name}\n    vms: [${group.vms.join(', ')}]`).join('\n')}
`;

/**
 * Writes the site file, the plan and the disks.
 * @param store value of `store:` in the site file.
 * @param image what the VMs boot from; if undefined, they only serve their disks.
 * @returns the disks; if mke2fs is missing, they hold the contents without a file system.
 */
export async function makeDemoSite(folder: string, store: string, image: GuestImage | undefined): Promise<DemoDisk[]> {
  const disks = demoDisks(folder);
  await mkdir(path.join(folder, 'disks'), { recursive: true });
  await writeFile(path.join(folder, 'site.yaml'), siteFileText(store, disks, image));
  await writeFile(path.join(folder, 'plan.yaml'), planFileText);
  const mke2fs = await findTool('mke2fs');
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
  await promisify(execFile)(mke2fs, ['-q', '-F', '-t', 'ext4', '-L', disk.name, '-d', tree, disk.file, `${sizeKiB}k`]);
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
