import { mkdtemp, open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ChangeLog, logPath } from '../../tracking/change-log.js';
import { decodeHeader, encodeNewHeader, encodeSlot } from '../../tracking/change-log-format.js';
import { readLogHeader, scanLog, type ScannedRecord } from '../../tracking/change-log-scan.js';

/** Of version 1, which is read and gone on with, and not made any more. */
const oldGolden = new URL('../golden/change-log.hrl', import.meta.url);
const golden = new URL('../golden/change-log-2.hrl', import.meta.url);
const identity = { vm: 'web-01', disk: 'data', diskSize: 5 * 2 ** 40, epoch: 3, sequence: 17 };
const opened = {
  bootId: '0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9',
  createdAt: Date.parse('2026-03-01T12:30:05.123Z'),
  openedByFinalCut: true,
  firstWrite: 4_294_967_299,
};

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'farshore-log-'));
  path = logPath(join(folder, 'data.vhd'), 3, 17);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** A log whose every byte is given. */
async function writeLog(): Promise<ChangeLog> {
  const log = await ChangeLog.create(path, { ...identity, ...opened });
  const records = [
    log.append({ offset: 0, length: 512 }, Buffer.alloc(512, 'first ')),
    log.append({ offset: 4 * 2 ** 40, length: 2 ** 33 }, undefined),
    log.append({ offset: 4096, length: 1024 }, Buffer.alloc(1024, 'third ')),
  ];
  await Promise.all(records.map((record) => record.appended));
  for (const record of records) log.settle(record);
  await log.seal(Date.parse('2026-03-01T12:35:05.456Z'), true);
  return log;
}

async function scan(sealed?: {
  length: number;
  lastWrite: number;
}): Promise<{ records: ScannedRecord[]; end: number }> {
  const handle = await open(path, 'r');
  try {
    const records: ScannedRecord[] = [];
    const scanning = scanLog(handle, path, { position: 4096, lastWrite: undefined, sealed });
    for (;;) {
      const step = await scanning.next();
      if (step.done) return { records, end: step.value.position };
      records.push(...step.value);
    }
  } finally {
    await handle.close();
  }
}

describe('format', () => {
  it('never changes, byte for byte', async () => {
    await writeLog();
    const written = await readFile(path);
    if (process.env['FARSHORE_UPDATE_GOLDEN']) await writeFile(golden, written);
    expect(written.equals(await readFile(golden))).toBe(true);
  });

  it.each([
    ['before it told where its records end', oldGolden, undefined],
    ['old', golden, 4096 + 3 * 40 + 512 + 1024],
  ])('reads the log of %s', async (_, file, appended) => {
    await writeFile(path, await readFile(file));
    const { header } = await readLogHeader(path, identity);
    expect(header).toEqual({
      ...(appended === undefined ? {} : { appended }),
      ...identity,
      ...opened,
      watermark: 4096 + 3 * 40 + 512 + 1024,
      watermarkWrite: opened.firstWrite + 2,
      sealed: {
        at: Date.parse('2026-03-01T12:35:05.456Z'),
        final: true,
        lastWrite: opened.firstWrite + 2,
        length: 4096 + 3 * 40 + 512 + 1024,
      },
    });
    const { records } = await scan(header.sealed);
    expect(records.map(({ kind, number, offset, length }) => ({ kind, number, offset, length }))).toEqual([
      { kind: 'data', number: opened.firstWrite, offset: 0, length: 512 },
      { kind: 'zero', number: opened.firstWrite + 1, offset: 4 * 2 ** 40, length: 2 ** 33 },
      { kind: 'data', number: opened.firstWrite + 2, offset: 4096, length: 1024 },
    ]);
  });

  it('survives a torn header update: the previous header counts', () => {
    const header = { ...identity, ...opened, watermark: 4096, watermarkWrite: 0 };
    const bytes = Buffer.concat([encodeSlot({ ...header, firstWrite: 1 }, 8), encodeSlot(header, 9)]);
    expect(decodeHeader(bytes)!.header.firstWrite).toBe(header.firstWrite);
    bytes.fill(0, 2048, 2560);
    expect(decodeHeader(bytes)).toMatchObject({ generation: 8, header: { firstWrite: 1 } });
    bytes[100]! ^= 1;
    expect(decodeHeader(bytes)).toBeUndefined();
  });

  it('keeps a mark whichever byte of its header is damaged', async () => {
    const log = await ChangeLog.create(path, { ...identity, ...opened });
    await log.persistFirstWrite();
    await log.persistFirstWrite();
    await log.mark('the disk could not be written');
    await log.abandon();
    const bytes = await readFile(path);
    for (const at of bytes.keys()) {
      const damaged = Buffer.from(bytes);
      damaged[at]! ^= 1 << (at % 8);
      const found = decodeHeader(damaged)!;
      expect(found.header.resyncCause, `byte ${at}`).toBe('the disk could not be written');
      // Nobody is told of the reserved bytes between the slots.
      expect(found.damage !== undefined, `byte ${at}`).toBe(at < 2032 || at >= 2048);
    }
  });

  it('treats a header as damaged that is older than it should be, and a new one as intact', () => {
    const header = { ...identity, ...opened, watermark: 4096, watermarkWrite: 0, appended: 4096 };
    const bytes = encodeNewHeader(header);
    expect(decodeHeader(bytes)).toEqual({ header, generation: 0 });
    encodeSlot(header, 1).copy(bytes, 2048);
    expect(decodeHeader(bytes)).toEqual({ header, generation: 1 });
    // The slot of generation 2 went back to what it was.
    encodeSlot(header, 3).copy(bytes, 2048);
    expect(decodeHeader(bytes)!.damage).toContain('damaged');
    encodeSlot(header, 2).copy(bytes, 0);
    expect(decodeHeader(bytes)!.damage).toBeUndefined();
    bytes.fill(0, 0, 2048);
    expect(decodeHeader(bytes)!.damage).toContain('damaged');
  });

  it('truncates a long cause, and keeps the readable part', () => {
    const header = { ...identity, ...opened, watermark: 4096, watermarkWrite: 0, resyncCause: 'ü'.repeat(2000) };
    const bytes = Buffer.concat([encodeSlot(header, 0)], 4096);
    expect(decodeHeader(bytes)!.header.resyncCause).toBe('ü'.repeat(511));
  });
});

describe('scan', () => {
  it('ends at a torn tail wherever it is torn, and refuses it in a sealed log', async () => {
    const log = await writeLog();
    const whole = await readFile(path);
    const last = whole.length - 1064;
    for (const length of [whole.length - 1, last + 40, last + 39, last + 1, last]) {
      await writeFile(path, whole);
      await truncate(path, length);
      const { records, end } = await scan();
      expect([records.length, end]).toEqual([2, last]);
      await expect(scan(log.header.sealed)).rejects.toMatchObject({ code: 'LogBroken' });
    }
  });

  it('notices a flipped bit of a sealed log, wherever it is', async () => {
    const log = await writeLog();
    const whole = await readFile(path);
    const headers = [4096, 4096 + 552, 4096 + 592];
    for (let byte = 4096; byte < whole.length; byte += 1) {
      if (byte % 41 !== 0 && !headers.some((start) => byte >= start && byte < start + 40)) continue;
      const damaged = Buffer.from(whole);
      damaged[byte]! ^= 1 << (byte % 8);
      await writeFile(path, damaged);
      await expect(scan(log.header.sealed), `byte ${byte}`).rejects.toMatchObject({ code: 'LogBroken' });
    }
  });
});

it('reads thousands of records in order, and seals after the last disk write', async () => {
  const log = await ChangeLog.create(path, { ...identity, ...opened, firstWrite: 1 });
  const records = Array.from({ length: 5000 }, (_, i) => {
    const data = Buffer.alloc(512, i);
    return log.append({ offset: i * 512, length: 512 }, data);
  });
  await Promise.all(records.map((record) => record.appended));
  let sealed = false;
  const sealing = log.seal(0, false).then(() => {
    sealed = true;
  });
  for (const record of records.slice(1)) log.settle(record);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(sealed).toBe(false);
  log.settle(records[0]!);
  await sealing;
  const { records: found } = await scan(log.header.sealed);
  expect(found.map((record) => record.number)).toEqual(records.map((record) => record.number));
});
