/**
 * A small Linux guest: the kernel of Debian's cloud image package, its modules for QEMU's devices, and busybox. The
 * kernel is downloaded once, and kept in the user's cache folder.
 */
import { execFile } from 'node:child_process';
import { access, copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { cacheFolder } from '../../../temporal/server/cache-folder.js';
import { note } from '../../output.js';
import { cpioArchive, type Entry } from './cpio.js';
import { initScript } from './init-script.js';
import { isStaticProgram } from './static-program.js';

const run = promisify(execFile);

const BUSYBOX = '/bin/busybox';
/** Of the kernel package's modules, those that the guest needs, without those that they depend on. */
const MODULES = [
  ...['virtio_pci', 'virtio_scsi', 'virtio_net', 'virtio_console', 'sd_mod', 'ata_piix'],
  ...['button', 'evdev', 'af_packet'],
];
const FOLDER = 0o040755;
const FILE = 0o100644;
const PROGRAM = 0o100755;
const CHARACTER_DEVICE = 0o020600;
const DOWNLOAD_LIMIT_MS = 180_000;

export interface GuestImage {
  readonly kernel: string;
  readonly initialRamDisk: string;
  /** More words may be added, see `initScript`. */
  readonly commandLine: string;
}

/** @returns the reason if it cannot be made here: no busybox, or no kernel package to be had. */
export async function guestImage(): Promise<GuestImage | string> {
  if (!(await isStaticProgram(BUSYBOX))) {
    return `${BUSYBOX} is not installed, or needs libraries (install busybox-static)`;
  }
  const folder = path.join(cacheFolder(), 'guest');
  const modules = path.join(folder, 'modules');
  if (!(await isThere(modules))) {
    note('Downloading the kernel of the guests, once');
    try {
      await unpackKernel(folder);
    } catch (error) {
      return `Debian's kernel package linux-image-cloud-amd64 cannot be downloaded with apt-get: ${lastLine((error as Error).message)} (install it from Debian's repository; before that: apt-get update)`;
    }
  }
  const initialRamDisk = path.join(folder, 'initrd.gz');
  const made = `${initialRamDisk}.${process.pid}`;
  await writeFile(made, gzipSync(cpioArchive(await entriesFrom(modules)), { level: 1 }));
  await rename(made, initialRamDisk);
  const commandLine = 'console=tty0 console=ttyS0 quiet panic=-1 no_timer_check';
  return { kernel: path.join(folder, 'vmlinuz'), initialRamDisk, commandLine };
}

const isThere = (file: string): Promise<boolean> =>
  access(file).then(
    () => true,
    () => false,
  );

const lastLine = (text: string): string => text.trim().split('\n').at(-1)!;

async function unpackKernel(folder: string): Promise<void> {
  const work = await mkdtemp(path.join(tmpdir(), 'farshore-guest-'));
  const options = { cwd: work, timeout: DOWNLOAD_LIMIT_MS };
  try {
    const { stdout } = await run('apt-cache', ['depends', 'linux-image-cloud-amd64'], options);
    const name = /Depends: (linux-image-\S+)/.exec(stdout)?.[1];
    if (name === undefined) throw new Error('apt-cache does not know it');
    await run('apt-get', ['download', '-qq', '-o', 'APT::Sandbox::User=root', name], options);
    const [packed] = (await readdir(work)).filter((file) => file.endsWith('.deb'));
    await run('dpkg-deb', ['-x', packed!, 'unpacked'], options);
    const unpacked = path.join(work, 'unpacked');
    const [kernel] = (await readdir(path.join(unpacked, 'boot'))).filter((file) => file.startsWith('vmlinuz'));
    const made = `${folder}.${process.pid}`;
    await mkdir(path.join(made, 'modules'), { recursive: true });
    await copyFile(path.join(unpacked, 'boot', kernel!), path.join(made, 'vmlinuz'));
    const { stdout: listed } = await run('find', [path.join(unpacked, 'lib/modules'), '-name', '*.ko']);
    for (const file of listed.trim().split('\n')) {
      await copyFile(file, path.join(made, 'modules', path.basename(file).replaceAll('-', '_')));
    }
    // Another process may have been quicker.
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
    { path: 'init', mode: PROGRAM, content: Buffer.from(initScript) },
    { path: 'bin/busybox', mode: PROGRAM, content: await readFile(BUSYBOX) },
    { path: 'modules/order', mode: FILE, content: Buffer.from(`${order.join('\n')}\n`) },
    ...order.map((name) => ({ path: `modules/${name}`, mode: FILE, content: contents.get(name)! })),
  ];
}
