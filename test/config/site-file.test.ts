/** The disk files that a site file names, as they are looked at before anything is started. */
import { mkdir, readFile, symlink, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { EmbeddedHypervisor } from '../../sites/hypervisor/hypervisor.js';
import { DataFolder } from '../../config/data-folder.js';
import { hostConfig } from '../../instance/hypervisor-configs.js';
import { loadSite } from '../../config/site-file.js';
import { blockDevice } from '../support/block-device.js';
import { requireReader, runReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const MiB = 1024 * 1024;

let folder: string;
beforeEach(async () => {
  folder = await temporaryFolder();
  await mkdir(path.join(folder, 'disks'));
});

async function siteWith(...disks: string[]): Promise<string> {
  const file = path.join(folder, 'site.yaml');
  const lines = [
    'vault: { name: v1, store: { kind: embedded, path: ./store } }',
    'vmmServers: [{ name: vmm, clouds: [{ name: c1, hosts: [{ name: h1 }] }] }]',
    'vms:',
    '  - name: db-01',
    '    host: h1',
    '    disks:',
    ...disks.map((disk) => `      - ${disk}`),
  ];
  await writeFile(file, `${lines.join('\n')}\n`);
  return file;
}

describe('a disk without a declared format', () => {
  const inFolder = (name: string) => path.join(folder, 'disks', name);

  test('is refused as raw if it looks like another format, before a byte of it is written', async (context) => {
    requireReader('qemu-img', context);
    await runReader('qemu-img', 'create', '-q', '-f', 'vhdx', inFolder('os.vhdx'), `${64 * MiB}`);
    const before = await readFile(inFolder('os.vhdx'));
    const file = await siteWith('{ name: os, path: disks/os.vhdx }');
    await expect(loadSite(file, { disks: true })).rejects.toMatchObject({
      path: 'vms[0].disks[0].format',
      line: 7,
      problem: expect.stringMatching(/os\.vhdx is a VHDX, but the site file gives no format/) as string,
      remedy: expect.stringMatching(/qemu-img convert.*format: raw/) as string,
    });
    // Whoever starts a hypervisor without the check is refused there.
    const { site } = await loadSite(file, { disks: false });
    const data = new DataFolder(path.join(folder, 'data'));
    await data.prepare(['h1']);
    onTestFinished(() => data.removeInstance());
    const hypervisor = await EmbeddedHypervisor.open(hostConfig(site, data, 'h1'), { warn: () => undefined });
    onTestFinished(() => hypervisor.close());
    expect((await hypervisor.describeVm('db-01')).failure).toMatchObject({ code: 'ForeignDiskFormat' });
    expect((await readFile(inFolder('os.vhdx'))).equals(before)).toBe(true);
  });

  test('is refused if it is a fixed VHD, which only its end shows, and accepted if that is declared', async (context) => {
    requireReader('qemu-img', context);
    const options = ['-o', 'subformat=fixed,force_size=on'];
    await runReader('qemu-img', 'create', '-q', '-f', 'vpc', ...options, inFolder('os.vhd'), `${8 * MiB}`);
    await expect(loadSite(await siteWith('{ name: os, path: disks/os.vhd }'), { disks: true })).rejects.toMatchObject({
      problem: expect.stringMatching(/os\.vhd is a VHD, /) as string,
    });
    for (const format of ['vhd', 'raw']) {
      const file = await siteWith(`{ name: os, path: disks/os.vhd, format: ${format} }`);
      await expect(loadSite(file, { disks: true })).resolves.toMatchObject({
        site: { vms: [{ disks: [{ format }] }] },
      });
    }
  });
});

describe('a disk that is larger than a replica', () => {
  const large = 2_500 * 1024 ** 3;
  const found = { problem: expect.stringContaining(`disk data has ${large} bytes, but a replica can hold`) as string };
  const check = (file: string) => loadSite(file, { disks: true, replicas: true });
  const withDisk = async (more = '') => {
    for (const [name, size] of [
      ['os', MiB],
      ['data', large],
    ] as const) {
      await writeFile(path.join(folder, 'disks', name), '');
      await truncate(path.join(folder, 'disks', name), size);
    }
    return await siteWith('{ name: os, path: disks/os }', `{ name: data, path: disks/data${more} }`);
  };

  test('is refused by the check of a site file, and does not prevent an instance with other VMs from starting', async () => {
    const file = await withDisk();
    await expect(check(file)).rejects.toMatchObject({
      ...found,
      path: 'vms[0].disks[1].path',
      line: 8,
      remedy: expect.stringContaining('excluded: true') as string,
    });
    await expect(loadSite(file, { disks: true })).resolves.toBeDefined();
  });

  test('is accepted if it is excluded', async () => {
    await expect(check(await withDisk(', excluded: true'))).resolves.toBeDefined();
  });
});

test('more data disks than are supported are refused by the check of a site file', async () => {
  const names = Array.from({ length: 18 }, (_, number) => `disk${number}`);
  for (const name of names) await writeFile(path.join(folder, 'disks', name), Buffer.alloc(512));
  const file = await siteWith(...names.map((name) => `{ name: ${name}, path: disks/${name} }`));
  await expect(loadSite(file, { disks: true, replicas: true })).rejects.toMatchObject({
    path: 'vms[0].disks',
    problem: expect.stringContaining('it has 17 data disks') as string,
  });
});

test.each<[what: string, write: (text: string) => Buffer]>([
  ['UTF-16, as Windows’ shell writes it', (text) => Buffer.from(`\ufeff${text}`, 'utf16le')],
  ['UTF-16 the other way round', (text) => Buffer.from(`\ufeff${text}`, 'utf16le').swap16()],
  ['UTF-8 with a byte order mark', (text) => Buffer.from(`\ufeff${text}`)],
])('a site file in %s is read', async (_what, write) => {
  const file = await siteWith('{ name: os, path: é.raw }');
  await writeFile(file, write(await readFile(file, 'utf8')));
  const { site } = await loadSite(file, { disks: false });
  expect(site.vms[0]?.disks[0]?.path).toBe(path.join(folder, 'é.raw'));
});

test('a site file that is not text is refused with that reason', async () => {
  const file = await siteWith('{ name: os, path: é.raw }');
  for (const bytes of [Buffer.from(await readFile(file, 'utf8'), 'utf16le'), Buffer.from([0x76, 0xff, 0xfa])]) {
    await writeFile(file, bytes);
    await expect(loadSite(file, { disks: false })).rejects.toMatchObject({
      problem: 'the site file is not text in UTF-8, nor in UTF-16 with a byte order mark',
    });
  }
});

test('a block device is a disk of its own size, and the same disk under every name', async (context) => {
  const image = path.join(folder, 'image');
  await writeFile(image, '');
  await truncate(image, 4 * MiB);
  const device = await blockDevice(image, context);
  const file = await siteWith(`{ name: os, path: ${device}, size: ${4 * MiB} }`);
  await expect(loadSite(file, { disks: true })).resolves.toMatchObject({ site: { vms: [{ name: 'db-01' }] } });
  const wrong = await siteWith(`{ name: os, path: ${device}, size: ${8 * MiB} }`);
  await expect(loadSite(wrong, { disks: true })).rejects.toMatchObject({
    problem: `the disk's virtual size is ${4 * MiB} bytes`,
  });
  await symlink(device, path.join(folder, 'again'));
  const twice = await siteWith(`{ name: os, path: ${device} }`, '{ name: data, path: again }');
  await expect(loadSite(twice, { disks: true })).rejects.toMatchObject({
    problem: 'this is the same file as the disk of db-01/os',
  });
});

test('a kernel that is not there is refused where VMs boot, and only there', async () => {
  await writeFile(path.join(folder, 'disks', 'os.raw'), '');
  await truncate(path.join(folder, 'disks', 'os.raw'), MiB);
  const file = await siteWith('{ name: os, path: disks/os.raw, format: raw }');
  await writeFile(file, `${await readFile(file, 'utf8')}    directBoot: { kernel: boot/vmlinuz }\n`);
  await loadSite(file, { disks: true });
  await writeFile(file, `${await readFile(file, 'utf8')}guests: qemu\n`);
  await expect(loadSite(file, { disks: true })).rejects.toMatchObject({
    path: 'vms[0].directBoot.kernel',
    problem: `${path.join(folder, 'boot', 'vmlinuz')} is not a file`,
  });
});
