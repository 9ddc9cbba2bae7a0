/**
 * What every source of changes promises, whatever tracks them. Each adapter's tests call this with a way to make a running
 * VM of zeroes that is not replicated yet.
 */
import { describe, expect, test } from 'vitest';
import { end } from '../../domain/ranges.js';
import type { ChangeSource, Cut } from '../../ports/change-source.js';
import { allRanges, applyChanges } from '../support/change-sets.js';
import { content } from '../support/content.js';
import { failsWith } from '../support/fails-with.js';

export interface SourceUnderTest {
  readonly source: ChangeSource;
  readonly vm: string;
  /** Sizes of its disks, two or more, each of at least 1 MiB; bytes. */
  readonly disks: Readonly<Record<string, number>>;
  /** As the guest does; offset and length in sectors. */
  write(disk: string, data: Buffer, offset: number): Promise<void>;
  /** What the guest reads. */
  contentOf(disk: string): Promise<Buffer>;
  /** In order. What is written then fails. */
  shutDown(): Promise<void>;
  /** Has the source lose what it has cut and not released. Left out: this one never does. */
  loseCuts?(): Promise<void>;
}

const SECTOR = 512;
const KiB = 1024;

export function changeSourceContract(name: string, make: () => Promise<SourceUnderTest>): void {
  const begun = async () => {
    const made = await make();
    await made.source.beginReplication(made.vm, 1);
    return made;
  };
  const at = (sequence: number, epoch = 1) => ({ epoch, sequence });

  describe(`${name}: a source of changes`, () => {
    test('a snapshot plus the cuts equals the disk, byte for byte', async () => {
      const under = await make();
      const { source, vm, disks, write } = under;
      const names = Object.keys(disks);
      const guest = writer(under);
      for (const disk of names) await write(disk, content(700 * KiB, 3), 64 * KiB);
      await source.beginReplication(vm, 1);
      const copies = new Map(
        await Promise.all(names.map(async (disk) => [disk, await under.contentOf(disk)] as const)),
      );
      await guest(20);
      for (const disk of names) expect((await snapshotOf(under, 1, disk)).equals(copies.get(disk)!)).toBe(true);
      while ((await source.mergeSnapshot(vm)) > 0);
      expect((await source.describeVm(vm)).snapshot).toBeUndefined();

      for (let sequence = 1; sequence <= 4; sequence += 1) {
        await guest(sequence === 3 ? 0 : 15);
        const cut = await source.cut(vm, at(sequence));
        const then = new Map(
          await Promise.all(names.map(async (disk) => [disk, await under.contentOf(disk)] as const)),
        );
        // Not of this cut any more.
        await guest(5);
        await applyChanges(await source.openChangeSet(cut), copies);
        for (const disk of names) expect(copies.get(disk)!.equals(then.get(disk)!)).toBe(true);
        await source.releaseCuts(cut);
      }
    });

    test('a new epoch continues a known state only while nothing has been written since', async () => {
      const under = await begun();
      const { source, vm, disks, write } = under;
      const [disk] = Object.keys(disks) as [string];
      await write(disk, content(KiB, 1), 0);
      const cut = await source.cut(vm, at(1));
      await source.releaseCuts(cut);
      const sent = {
        epoch: 1,
        lastWrites: Object.fromEntries(cut.disks.map(({ name, lastWrite }) => [name, lastWrite])),
      };
      // It runs, and may write at any moment.
      await failsWith('ResyncRequired', source.continueReplication(vm, 2, sent));
      await write(disk, content(KiB, 2), KiB);
      await under.shutDown();
      await failsWith('ResyncRequired', source.continueReplication(vm, 2, sent));
      const last = await source.cut(vm, at(2));
      const now = {
        epoch: 1,
        lastWrites: Object.fromEntries(last.disks.map(({ name, lastWrite }) => [name, lastWrite])),
      };
      await failsWith('ResyncRequired', source.continueReplication(vm, 2, { ...now, epoch: 7 }));
      expect((await source.describeVm(vm)).tracking).toMatchObject({ epoch: 1 });
      await source.continueReplication(vm, 2, now);
      await source.continueReplication(vm, 2, now);
      expect((await source.describeVm(vm)).tracking).toMatchObject({ epoch: 2, openSequence: 1 });
      const first = await source.cut(vm, at(1, 2));
      const changes = await source.openChangeSet(first);
      for (const each of changes.disks) expect(await allRanges(each)).toEqual([]);
      await changes.close();
    });

    test('an unreleased cut is returned again, with the same contents', async () => {
      const under = await begun();
      const { source, vm, disks } = under;
      const guest = writer(under);
      const copies = emptyCopies(disks);
      const cuts: Cut[] = [];
      for (const sequence of [1, 2]) {
        await guest(10);
        cuts.push(await source.cut(vm, at(sequence)));
      }
      await guest(10);
      for (const cut of cuts) {
        expect(await source.cut(vm, cut)).toEqual(cut);
        expect(await source.cut(vm, cut, { existing: true })).toEqual(cut);
      }
      const then = await source.cut(vm, at(3));
      for (const cut of [...cuts, then]) await applyChanges(await source.openChangeSet(cut), copies);
      for (const disk of Object.keys(disks)) expect(copies.get(disk)!.equals(await under.contentOf(disk))).toBe(true);
      const tokens = [...cuts, then].map((cut) => cut.disks.map(({ name: disk, token }) => `${disk} ${token}`));
      expect(new Set(tokens.flat()).size).toBe(3 * Object.keys(disks).length);
    });

    test('ranges are sorted, within the disk, and the same each time; a part equals that part of the whole', async () => {
      const under = await begun();
      const { source, vm, write } = under;
      const [disk] = Object.keys(under.disks) as [string];
      await write(disk, content(300 * KiB, 1), 0);
      await write(disk, content(SECTOR, 2), 500 * KiB);
      await write(disk, Buffer.alloc(64 * KiB), 128 * KiB);
      await writer(under)(30);
      const cut = await source.cut(vm, at(1));
      const changes = await source.openChangeSet(cut);
      expect(changes.disks.map((each) => each.name).sort()).toEqual(cut.disks.map((each) => each.name).sort());
      for (const each of changes.disks) {
        const ranges = await allRanges(each);
        expect(await allRanges(each)).toEqual(ranges);
        let previousEnd = 0;
        for (const range of ranges) {
          expect([range.offset % SECTOR, range.length % SECTOR]).toEqual([0, 0]);
          expect(range.length).toBeGreaterThan(0);
          expect(range.offset).toBeGreaterThanOrEqual(previousEnd);
          previousEnd = end(range);
          const whole = await each.read(range, range);
          expect(whole.length).toBe(range.length);
          if (range.zero) expect(whole.every((byte) => byte === 0)).toBe(true);
          const part = { offset: range.offset + Math.floor(range.length / 1024) * SECTOR, length: SECTOR };
          const from = part.offset - range.offset;
          expect((await each.read(range, part)).equals(whole.subarray(from, from + SECTOR))).toBe(true);
        }
        expect(previousEnd).toBeLessThanOrEqual(under.disks[each.name]!);
      }
      await changes.close();
    });

    test('write numbers continue from cut to cut; a cut of a VM that is off holds everything', async () => {
      const under = await begun();
      const { source, vm, disks, write } = under;
      const [disk, idle] = Object.keys(disks) as [string, string];
      const numbers: number[] = [];
      for (let sequence = 1; sequence <= 3; sequence += 1) {
        await write(disk, content(4 * KiB, sequence), sequence * 8 * KiB);
        if (sequence === 3) await under.shutDown();
        const cut = await source.cut(vm, at(sequence));
        expect(cut).toMatchObject({ vm, ...at(sequence), final: sequence === 3 });
        const numberOf = (of: string) => cut.disks.find((each) => each.name === of)!;
        expect(numberOf(disk).size).toBe(disks[disk]);
        numbers.push(numberOf(disk).lastWrite);
        expect(numberOf(idle).lastWrite).toBe(0);
        await source.releaseCuts(cut);
      }
      expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
      expect(new Set(numbers).size).toBe(3);
      const { state, tracking } = await source.describeVm(vm);
      expect([state, tracking]).toEqual([
        'Off',
        { epoch: 1, openSequence: 4, lastWrites: { ...zeroesFor(disks), [disk]: numbers[2] } },
      ]);
      // Written to again, the last cut is not all any more.
      await expect(write(disk, content(SECTOR, 9), 0)).rejects.toThrow();
    });

    test('cycles are cut in order and within their epoch', async () => {
      const { source, vm } = await make();
      await failsWith('ResyncRequired', source.cut(vm, at(1)));
      await source.beginReplication(vm, 2);
      await source.beginReplication(vm, 2);
      await failsWith('OutOfSequence', source.cut(vm, at(2, 2)));
      await failsWith('StaleEpoch', source.cut(vm, at(1, 1)));
      await failsWith('OutOfSequence', source.cut(vm, at(1, 3)));
      await failsWith('CutGone', source.cut(vm, at(1, 2), { existing: true }));
      const cut = await source.cut(vm, at(1, 2));
      await source.releaseCuts(cut);
      await source.releaseCuts(cut);
      await failsWith('OutOfSequence', source.cut(vm, at(1, 2)));
      await failsWith('CutGone', source.cut(vm, at(1, 2), { existing: true }));
      await failsWith('StaleEpoch', source.beginReplication(vm, 1));
      await failsWith('VmNotFound', source.cut('nobody', at(1)));
      await failsWith('VmNotFound', source.describeVm('nobody'));
    });

    test('only existing cuts are released', async () => {
      const under = await begun();
      const { source, vm, write } = under;
      const [disk] = Object.keys(under.disks) as [string];
      await write(disk, content(4 * KiB, 1), 0);
      const cut = await source.cut(vm, at(1));
      const others = cut.disks.map((each) => ({ ...each, token: `${each.token}-other` }));
      await failsWith('CutGone', source.releaseCuts({ ...cut, disks: others }));
      await failsWith('CutGone', source.releaseCuts({ ...cut, sequence: 2 }));
      // Nothing came of it.
      const copies = emptyCopies(under.disks);
      await applyChanges(await source.openChangeSet(cut), copies);
      expect(copies.get(disk)!.equals(await under.contentOf(disk))).toBe(true);
      await source.releaseCuts({ ...cut, epoch: 7 });
      await source.releaseCuts(cut);
    });

    test('a new epoch begins with a snapshot and without earlier cuts', async () => {
      const under = await begun();
      const { source, vm, write } = under;
      const [disk] = Object.keys(under.disks) as [string];
      await write(disk, content(4 * KiB, 1), 0);
      const old = await source.cut(vm, at(1));
      await write(disk, content(4 * KiB, 2), 8 * KiB);
      await source.beginReplication(vm, 3);
      expect((await source.describeVm(vm)).tracking).toMatchObject({ epoch: 3, openSequence: 1 });
      expect((await snapshotOf(under, 3, disk)).equals(await under.contentOf(disk))).toBe(true);
      await failsWith('InvalidVmState', source.openSnapshotDisk(vm, 1, disk));
      await failsWith('StaleEpoch', source.cut(vm, at(2)));
      await expect(source.openChangeSet(old)).rejects.toThrow();
      await source.releaseCuts(old);
      const cut = await source.cut(vm, at(1, 3));
      const changes = await source.openChangeSet(cut);
      expect((await Promise.all(changes.disks.map(allRanges))).flat()).toEqual([]);
      await changes.close();
    });

    test('replication that has ended leaves nothing behind and the VM unchanged', async () => {
      const under = await begun();
      const { source, vm, write } = under;
      const [disk] = Object.keys(under.disks) as [string];
      await write(disk, content(100 * KiB, 1), 4 * KiB);
      await source.cut(vm, at(1));
      await source.endReplication(vm, 99);
      expect((await source.describeVm(vm)).tracking, 'a late request').toMatchObject({ openSequence: 2 });
      await source.endReplication(vm);
      await source.endReplication(vm);
      const { tracking, snapshot, state } = await source.describeVm(vm);
      expect({ tracking, snapshot, state }).toEqual({ tracking: undefined, snapshot: undefined, state: 'Running' });
      await failsWith('ResyncRequired', source.cut(vm, at(2)));
      expect((await under.contentOf(disk)).subarray(4 * KiB, 104 * KiB).equals(content(100 * KiB, 1))).toBe(true);
    });

    test('a snapshot has the exact instant of its cut', async () => {
      const under = await begun();
      const { source, vm, disks } = under;
      const guest = writer(under);
      await guest(10);
      while ((await source.mergeSnapshot(vm)) > 0);
      const first = await source.cut(vm, at(1));
      await failsWith('InvalidVmState', source.snapshotAndCut(vm, at(1)));
      const copies = emptyCopies(disks);
      await applyChanges(await source.openChangeSet(first), copies);
      await source.releaseCuts(first);
      await guest(10);
      const cut = await source.snapshotAndCut(vm, at(2));
      await guest(10);
      expect(await source.snapshotAndCut(vm, at(2))).toEqual(cut);
      expect(await source.cut(vm, at(2))).toEqual(cut);
      await applyChanges(await source.openChangeSet(cut), copies);
      for (const disk of Object.keys(disks)) {
        expect((await snapshotOf(under, 1, disk)).equals(copies.get(disk)!)).toBe(true);
      }
      while ((await source.mergeSnapshot(vm)) > 0);
      for (const disk of Object.keys(disks)) await failsWith('InvalidVmState', source.openSnapshotDisk(vm, 1, disk));
    });

    test('a lost cut is reported as gone; made again, it holds everything that it held before', async (context) => {
      const under = await begun();
      const { source, vm, disks } = under;
      if (!under.loseCuts) return context.skip('it never loses a cut');
      const guest = writer(under);
      await guest(10);
      const lost = await source.snapshotAndCut(vm, at(1));
      const changes = await source.openChangeSet(lost);
      const [range] = (await Promise.all(changes.disks.map(allRanges))).flat();
      await under.loseCuts();
      await failsWith('CutGone', source.openChangeSet(lost));
      await failsWith('CutGone', changes.disks[0]!.read(range!, range!));
      await changes.close();
      await failsWith('CutGone', source.cut(vm, lost, { existing: true }));
      await failsWith('CutGone', source.releaseCuts(lost));
      for (const disk of Object.keys(disks)) await failsWith('SnapshotGivenUp', source.openSnapshotDisk(vm, 1, disk));
      expect((await source.describeVm(vm)).tracking).toMatchObject({ openSequence: 1 });

      await guest(10);
      const again = await source.cut(vm, at(1));
      for (const [index, { token }] of again.disks.entries()) expect(token).not.toBe(lost.disks[index]!.token);
      await failsWith('CutGone', source.releaseCuts(lost));
      await failsWith('CutGone', source.openChangeSet(lost));
      const copies = emptyCopies(disks);
      await applyChanges(await source.openChangeSet(again), copies);
      for (const disk of Object.keys(disks)) expect(copies.get(disk)!.equals(await under.contentOf(disk))).toBe(true);
      await source.releaseCuts(again);
    });
  });
}

/** Writes so many times, of any length, anywhere; every sixth time zeroes. */
function writer({ disks, write }: SourceUnderTest): (writes: number) => Promise<void> {
  let random = 1;
  const below = (limit: number) => {
    random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
    return (random >>> 8) % limit;
  };
  return async (writes) => {
    for (let left = writes; left > 0; left -= 1) {
      for (const [disk, size] of Object.entries(disks)) {
        const length = (1 + below(64)) * SECTOR;
        const offset = below((size - length) / SECTOR) * SECTOR;
        await write(disk, left % 6 === 0 ? Buffer.alloc(length) : content(length, random % 251), offset);
      }
    }
  };
}

const emptyCopies = (disks: Readonly<Record<string, number>>) =>
  new Map(Object.entries(disks).map(([disk, size]) => [disk, Buffer.alloc(size)]));

const zeroesFor = (disks: Readonly<Record<string, number>>) =>
  Object.fromEntries(Object.keys(disks).map((disk) => [disk, 0]));

async function snapshotOf({ source, vm, disks }: SourceUnderTest, epoch: number, disk: string): Promise<Buffer> {
  const opened = await source.openSnapshotDisk(vm, epoch, disk);
  expect(opened.size).toBe(disks[disk]);
  const bytes = Buffer.alloc(opened.size);
  await opened.read(bytes, 0);
  await opened.close();
  return bytes;
}
