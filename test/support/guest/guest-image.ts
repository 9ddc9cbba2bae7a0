/**
 * A small Linux guest: the kernel of Debian's cloud image package, its modules for QEMU's devices, and busybox. Made once,
 * and kept in the user's cache folder.
 */
import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import type { TestContext } from 'vitest';
import { isThere } from '../../../disks/make-folder.js';
import { cacheFolder } from '../../../temporal/server/cache-folder.js';
import { cpioArchive, type Entry } from './cpio.js';

const run = promisify(execFile);

const BUSYBOX = '/bin/busybox';
/** Of the kernel package's modules, those that the guest needs; what they depend on comes along. */
const MODULES = [
  ...['virtio_pci', 'virtio_scsi', 'virtio_net', 'virtio_console', 'sd_mod', 'ata_piix'],
  ...['button', 'evdev', 'af_packet'],
];
const FOLDER = 0o040755;
const FILE = 0o100644;
const PROGRAM = 0o100755;
const CHARACTER_DEVICE = 0o020600;

export interface GuestImage {
  readonly kernel: string;
  readonly initialRamDisk: string;
  readonly commandLine: string;
}

/** Skips the running test where it can't be made; where readers are required that is a failure. */
export async function requireGuestImage(context: Pick<TestContext, 'skip'>): Promise<GuestImage> {
  const image = await guestImage();
  if (typeof image !== 'string') return image;
  if (process.env['FARSHORE_REQUIRE_READERS']) throw new Error(`no guest can be made here: ${image}`);
  return context.skip(`no guest can be made here: ${image}`) as never;
}

/** What the disks held at each boot, as the guest's console tells: the newest transaction of each. */
export const bootedTransactions = (console: string): Transactions[] =>
  transactionsIn(console, /guest: \/(os|data) holds (\d+) transactions, in order/g);

/** What each disk held when the guest had shut down, for each time. */
export const leftTransactions = (console: string): Transactions[] =>
  transactionsIn(console, /guest: \/(os|data) is left with (\d+) transactions/g);

interface Transactions {
  readonly os: number;
  readonly data: number;
}

function transactionsIn(console: string, told: RegExp): Transactions[] {
  const found = [...console.matchAll(told)];
  const of = (disk: string) => found.filter(([, name]) => name === disk).map(([, , count]) => Number(count));
  const [os, data] = [of('os'), of('data')];
  return os.map((count, index) => ({ os: count, data: data[index] ?? Number.NaN }));
}

/** @returns why it can't be made: no package tools, no busybox, no package to be had. */
async function guestImage(): Promise<GuestImage | string> {
  const folder = path.join(cacheFolder(), 'test-guest');
  const kernel = path.join(folder, 'vmlinuz');
  if (!(await isThere(path.join(folder, 'modules')))) {
    try {
      await unpackKernel(folder);
    } catch (error) {
      return `the kernel package is not to be had: ${(error as Error).message}`;
    }
  }
  if (!(await isThere(BUSYBOX))) return `${BUSYBOX} is not installed`;
  const initialRamDisk = path.join(folder, 'initrd.gz');
  const made = `${initialRamDisk}.${process.pid}`;
  await writeFile(made, gzipSync(cpioArchive(await entriesFrom(path.join(folder, 'modules'))), { level: 1 }));
  await rename(made, initialRamDisk);
  return { kernel, initialRamDisk, commandLine: 'console=ttyS0 quiet panic=-1 no_timer_check' };
}

async function unpackKernel(folder: string): Promise<void> {
  const work = await mkdtemp(path.join(tmpdir(), 'farshore-guest-'));
  try {
    const { stdout } = await run('apt-cache', ['depends', 'linux-image-cloud-amd64']);
    const name = /Depends: (linux-image-\S+)/.exec(stdout)?.[1];
    if (name === undefined) throw new Error('there is no kernel package');
    await run('apt-get', ['download', '-qq', '-o', 'APT::Sandbox::User=root', name], { cwd: work });
    const [packed] = (await readdir(work)).filter((file) => file.endsWith('.deb'));
    await run('dpkg-deb', ['-x', packed!, 'unpacked'], { cwd: work });
    const unpacked = path.join(work, 'unpacked');
    const [kernel] = (await readdir(path.join(unpacked, 'boot'))).filter((file) => file.startsWith('vmlinuz'));
    const made = `${folder}.${process.pid}`;
    await mkdir(path.join(made, 'modules'), { recursive: true });
    await copyFile(path.join(unpacked, 'boot', kernel!), path.join(made, 'vmlinuz'));
    const { stdout: listed } = await run('find', [path.join(unpacked, 'lib/modules'), '-name', '*.ko']);
    for (const file of listed.trim().split('\n')) {
      await copyFile(file, path.join(made, 'modules', path.basename(file).replaceAll('-', '_')));
    }
    // Another test may have been quicker.
    await rename(made, folder).catch(async (error: unknown) => {
      await rm(made, { recursive: true, force: true });
      if (!(await isThere(path.join(folder, 'modules')))) throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function entriesFrom(modules: string): Promise<Entry[]> {
  const order: string[] = [];
  const contents = new Map<string, Buffer>();
  const add = async (name: string): Promise<void> => {
    const file = `${name}.ko`;
    if (order.includes(file)) return;
    const content = await readFile(path.join(modules, file)).catch(() => undefined);
    // Built into the kernel.
    if (!content) return;
    const [, depends] = /\0depends=([^\0]*)\0/.exec(content.toString('latin1')) ?? [];
    for (const needed of (depends ?? '').split(',').filter((each) => each !== '')) await add(needed);
    order.push(file);
    contents.set(file, content);
  };
  for (const name of MODULES) await add(name);
  return [
    ...['bin', 'dev', 'etc', 'modules', 'proc', 'run', 'sys'].map((name) => ({ path: name, mode: FOLDER })),
    { path: 'dev/console', mode: CHARACTER_DEVICE, device: [5, 1] },
    { path: 'init', mode: PROGRAM, content: await readFile(path.join(import.meta.dirname, 'init.sh')) },
    { path: 'bin/busybox', mode: PROGRAM, content: await readFile(BUSYBOX) },
    { path: 'modules/order', mode: FILE, content: Buffer.from(`${order.join('\n')}\n`) },
    ...order.map((name) => ({ path: `modules/${name}`, mode: FILE, content: contents.get(name)! })),
  ];
}
