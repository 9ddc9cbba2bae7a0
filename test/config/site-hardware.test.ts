/** The hardware of VMs in a site file: what a VM has by default, and each bad value refused where it stands. */
import { readFile } from 'node:fs/promises';
import { expect, it, test } from 'vitest';
import { readDocument } from '../../config/document.js';
import { hardwareLines } from '../../domain/hardware.js';
import { checkSite } from '../../domain/site-checks.js';
import { hardwareOf, siteSchema, type Site } from '../../domain/site.js';

const example = await readFile('examples/site.yaml', 'utf8');

/** @param changes of the example's text, each in one place. */
function read(...changes: readonly [from: string, to: string][]): Site {
  let text = example;
  for (const [from, to] of changes) {
    expect(text.split(from), from).toHaveLength(2);
    text = text.replace(from, to);
  }
  return readDocument(text, 'site.yaml', siteSchema, checkSite).value;
}

const GENERATION_1: [string, string] = ['generation: 2 #', 'generation: 1 #'];
const NO_FIRMWARE: [string, string][] = [
  ['      firmware: UEFI #', '      #'],
  ['      secureBoot: true #', '      #'],
];
const DISKS_OF_DB = /disks:\n {6}- name: os\n[^]*?excluded: false[^\n]*\n/.exec(example)![0];
const disksOn = (...buses: string[]): [string, string] => [
  DISKS_OF_DB,
  `disks:\n${buses.map((bus, d) => `      - { name: d${d}, path: d${d}.raw${bus === '' ? '' : `, bus: ${bus}`} }\n`).join('')}`,
];

test('the example is told as it stands, what is left out by its defaults', () => {
  const [db, web] = read().vms;
  expect(hardwareOf(db!)).toEqual({
    ...{ processors: 8, memoryBytes: 64 * 1024 ** 3, firmware: 'UEFI', secureBoot: true },
    disks: [
      { name: 'os', bus: 'SCSI' },
      { name: 'data', bus: 'SCSI' },
    ],
    networkAdapters: [{ name: 'eth0', macAddress: '00:15:5D:01:02:03', addresses: ['10.0.0.5'] }],
  });
  expect(hardwareOf(web!)).toEqual({
    ...{ processors: 2, memoryBytes: 4 * 1024 ** 3, firmware: 'UEFI', secureBoot: true },
    disks: [{ name: 'os', bus: 'SCSI' }],
    networkAdapters: [{ name: 'eth0', addresses: [] }],
  });
});

test('a VM of generation 1 has BIOS, and boots from IDE', () => {
  const [db] = read(GENERATION_1, ...NO_FIRMWARE, disksOn('', '', 'IDE')).vms;
  expect(hardwareOf(db!)).toMatchObject({
    ...{ firmware: 'BIOS', secureBoot: false },
    disks: [
      { name: 'd0', bus: 'IDE' },
      { name: 'd1', bus: 'SCSI' },
      { name: 'd2', bus: 'IDE' },
    ],
  });
});

test('people read it a line for the machine, one for its disks, one for each adapter', () => {
  const [db, web] = read().vms;
  expect(hardwareLines(hardwareOf(db!))).toEqual([
    '8 processors, 64.0 GiB of memory, UEFI with secure boot',
    'disks os (SCSI), data (SCSI)',
    'adapter eth0, 00:15:5D:01:02:03, 10.0.0.5',
  ]);
  const old = { ...hardwareOf(web!), processors: 1, firmware: 'BIOS' as const, secureBoot: false };
  expect(hardwareLines(old)).toEqual([
    '1 processor, 4.0 GiB of memory, BIOS',
    'disks os (SCSI)',
    'adapter eth0, MAC address given at start',
  ]);
});

it.each<[string, [string, string][], RegExp]>([
  [
    'no processors',
    [['processors: 8', 'processors: 0']],
    /vms\[0\]\.hardware\.processors: expected a number of at least 1 \(value: 0\)\n {2}Remedy: correct the value/,
  ],
  [
    'too little memory',
    [['memoryBytes: 68719476736', 'memoryBytes: 4096']],
    /vms\[0\]\.hardware\.memoryBytes: expected a number of at least 33554432 \(value: 4096\)\n {2}Remedy: /,
  ],
  [
    'memory in no whole steps',
    [['memoryBytes: 68719476736', 'memoryBytes: 68719476737']],
    /vms\[0\]\.hardware\.memoryBytes: expected a multiple of 2097152 \(2 MiB\) \(value: 68719476737\)\n {2}Remedy: /,
  ],
  [
    'another firmware',
    [['firmware: UEFI #', 'firmware: EFI #']],
    /vms\[0\]\.hardware\.firmware: expected one of: BIOS, UEFI \(value: "EFI"\)\n {2}Remedy: /,
  ],
  [
    'a misspelt field',
    [['processors: 8', 'cpus: 8']],
    /vms\[0\]\.hardware\.cpus: unknown field \(value: 8\)\n {2}Remedy: /,
  ],
  [
    'a firmware of the other generation',
    [['firmware: UEFI #', 'firmware: BIOS #']],
    /vms\[0\]\.hardware\.firmware: a VM of generation 2 has UEFI \(value: "BIOS"\)\n {2}Remedy: leave it out, or .*generation: 1/,
  ],
  [
    'secure boot with BIOS',
    [GENERATION_1, ['      firmware: UEFI #', '      #'], disksOn('')],
    /vms\[0\]\.hardware\.secureBoot: a VM with BIOS has no secure boot \(value: true\)\n {2}Remedy: leave it out, or /,
  ],
  [
    'a MAC address that is none',
    [['macAddress: 00:15:5D:01:02:03', 'macAddress: 00:15:5D:01:02']],
    /vms\[0\]\.networkAdapters\[0\]\.macAddress: expected the MAC address of one adapter: .* \(value: "00:15:5D:01:02"\)\n {2}Remedy: /,
  ],
  [
    'the MAC address of a group',
    [['macAddress: 00:15:5D:01:02:03', 'macAddress: 01:15:5D:01:02:03']],
    /networkAdapters\[0\]\.macAddress: expected the MAC address of one adapter/,
  ],
  [
    'an address with a prefix length',
    [['[10.0.0.5]', '[10.0.0.5/24]']],
    /vms\[0\]\.networkAdapters\[0\]\.addresses\[0\]: expected an IPv4 or IPv6 address without .* \(value: "10.0.0.5\/24"\)\n {2}Remedy: /,
  ],
  [
    'IDE in generation 2',
    [disksOn('', 'IDE')],
    /vms\[0\]\.disks\[1\]\.bus: a VM of generation 2 has no IDE controller \(value: "IDE"\)\n {2}Remedy: write SCSI, or /,
  ],
  [
    'a boot disk on SCSI in generation 1',
    [GENERATION_1, ...NO_FIRMWARE, disksOn('SCSI')],
    /vms\[0\]\.disks\[0\]\.bus: a VM of generation 1 boots from an IDE disk \(value: "SCSI"\)\n {2}Remedy: write IDE/,
  ],
  [
    'five IDE disks',
    [GENERATION_1, ...NO_FIRMWARE, disksOn('IDE', 'IDE', 'IDE', 'IDE', 'IDE')],
    /vms\[0\]\.disks\[4\]\.bus: a VM has 4 IDE disks at most \(value: "IDE"\)\n {2}Remedy: write SCSI/,
  ],
  [
    'a MAC address twice, however it is written',
    [['vmNetwork: frontend\n', 'vmNetwork: frontend\n        macAddress: 00-15-5d-01-02-03\n']].map(
      ([from, to]): [string, string] => [`      - name: eth0\n        ${from!}`, `      - name: eth0\n        ${to!}`],
    ),
    /vms\[1\]\.networkAdapters\[0\]\.macAddress: db-01\/eth0 has this MAC address \(value: "00-15-5d-01-02-03"\)\n {2}Remedy: give each/,
  ],
])('%s is refused', (_, changes, message) => {
  expect(() => read(...changes)).toThrow(message);
});
