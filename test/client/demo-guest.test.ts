/** What the demo reads from its booted guests, and what it boots them from. */
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { demoDisks, siteFileText } from '../../client/demo/demo-site.js';
import { bootedTransactions, leftTransactions, timesEnded, timesReady } from '../../client/demo/guest/console.js';
import { isStaticProgram } from '../../client/demo/guest/static-program.js';
import { checkTransactions } from '../../client/demo/guest/transactions.js';
import { areFound } from '../../client/demo/story.js';
import { loadSite } from '../../config/site-file.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const told = `guest: /os holds 0 transactions, in order\r
guest: /data holds 0 transactions, in order\r
guest: ready\r
guest: /os is left with 8 transactions\r
guest: /data is left with 7 transactions\r
guest: shut down\r
guest: /os holds 8 transactions, in order\r
guest: /data holds 7 transactions, in order\r
guest: ready\r
`;

test('a console tells what each disk held at each boot and at each shutdown', () => {
  expect(bootedTransactions(told)).toEqual([
    { os: 0, data: 0 },
    { os: 8, data: 7 },
  ]);
  expect(leftTransactions(told)).toEqual([{ os: 8, data: 7 }]);
  expect([timesReady(told), timesEnded(told)]).toEqual([2, 1]);
  const ofOneDisk = told.replaceAll(/guest: \/data.*\r\n/g, '');
  expect(bootedTransactions<'os'>(ofOneDisk)).toEqual([{ os: 0 }, { os: 8 }]);
  expect(bootedTransactions(told.replaceAll('in order', 'NOT IN ORDER'))).toEqual([]);
});

test('a guest has found everything only if each disk holds exactly what was written to it', () => {
  const written = [
    { vm: 'db-01', disk: 'os', kind: 'transactions', newest: 8 },
    { vm: 'db-01', disk: 'data', kind: 'transactions', newest: 7 },
  ] as const;
  expect(areFound(written, { os: 8, data: 7 })).toBe(true);
  for (const found of [{ os: 8, data: 6 }, { os: 7, data: 7 }, { os: 9, data: 7 }, { os: 8 }, {}])
    expect(areFound(written, found)).toBe(false);
  // A guest that was turned off has told nothing.
  expect(areFound([], {})).toBe(false);
});

test('transactions are checked by their numbers and digests', () => {
  let text = '';
  let before = '';
  for (let number = 1; number <= 4; number += 1) {
    before = `${number} ${createHash('sha256').update(before).digest('hex').slice(0, 16)}\n`;
    text += before;
  }
  const lines = text.split('\n');
  expect(checkTransactions(text)).toEqual({ last: 4 });
  expect(checkTransactions('')).toEqual({ last: 0 });
  expect(checkTransactions(text.slice(0, -1))).toMatchObject({ last: 3, fault: 'line 4 is torn' });
  const swapped = [lines[0], lines[2], lines[1], lines[3], ''].join('\n');
  expect(checkTransactions(swapped)).toMatchObject({ last: 1, fault: expect.stringContaining('line 2') });
  expect(checkTransactions(text.replace(/^3 ./m, '3 x'))).toMatchObject({ last: 2 });
  expect(checkTransactions(`${text}\0\0\0\0\n`)).toMatchObject({ last: 4, fault: expect.any(String) });
});

test('a program that needs libraries, or is none, is not put into a guest', async () => {
  const folder = await temporaryFolder();
  const script = path.join(folder, 'script');
  await writeFile(script, '#!/bin/sh\n'.padEnd(100, '#'));
  expect(await isStaticProgram(script)).toBe(false);
  expect(await isStaticProgram(path.join(folder, 'none'))).toBe(false);
  // Node is linked with the C library.
  expect(await isStaticProgram(process.execPath)).toBe(false);
});

test('the VMs of the demo boot only if there is something to boot them from', async () => {
  const folder = await temporaryFolder();
  const kernel = path.join(folder, `a "kernel": #1`);
  await writeFile(kernel, '');
  const image = { kernel, initialRamDisk: kernel, commandLine: 'console=ttyS0' };
  const file = path.join(folder, 'site.yaml');
  const write = (from: typeof image | undefined) =>
    writeFile(file, siteFileText('{ kind: embedded, path: store }', demoDisks(folder), from));
  await write(image);
  const { site } = await loadSite(file, { disks: false });
  expect(site.guests).toBe('qemu');
  expect(site.vms.map(({ name, directBoot }) => [name, directBoot?.kernel, directBoot?.commandLine])).toEqual([
    ['db-01', kernel, expect.stringContaining('disks=os,data')],
    ['app-01', kernel, expect.stringMatching(/ disks=os /)],
    ['web-01', kernel, expect.stringMatching(/ disks=os /)],
  ]);
  await write(undefined);
  const plain = await loadSite(file, { disks: false });
  expect(plain.site.guests).toBe('exports');
  expect(plain.site.vms.map(({ directBoot }) => directBoot)).toEqual([undefined, undefined, undefined]);
});
