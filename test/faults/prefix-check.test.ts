/** The prefix check finds what it is there to find. */
import { beforeAll, expect, test } from 'vitest';
import { NUMBERED_BLOCK_BYTES, NumberedWriter, numberedBlock } from '../../sites/nbd/numbered-writer.js';
import { diskIdOf, type GuestJournal } from './ordered-guest.js';
import { checkPrefix } from './prefix-check.js';

const disks = ['os', 'data'];
const region = { offset: 8192, length: 64 * NUMBERED_BLOCK_BYTES };
const BYTES = region.offset + region.length;
/** Round the region and on: half of the slots are of the second round. */
const WRITTEN = 200;

const memory = (content: Buffer) => ({
  content,
  read: async (target: Buffer, offset: number) => void content.copy(target, 0, offset, offset + target.length),
  write: async (data: Buffer, offset: number) => void data.copy(content, offset),
  flush: async () => undefined,
});

/** Number n is written at 10 n ms and acknowledged 5 ms later; every tenth is flushed 2 ms after that. */
const numbers = Array.from({ length: WRITTEN }, (_, index) => index + 1);
const journal: GuestJournal = {
  ...{ vm: 'db-01', disks, region },
  issuedAt: numbers.map((number) => 10 * number),
  acknowledgedAt: numbers.map((number) => 10 * number + 5),
  flushes: numbers.filter((number) => number % 10 === 0).map((number) => ({ number, at: 10 * number + 7 })),
};

/** The disks after each block. */
const states: Buffer[][] = [];
beforeAll(async () => {
  const now = disks.map(() => memory(Buffer.alloc(BYTES)));
  const writers = disks.map((disk, index) => new NumberedWriter(now[index]!, diskIdOf('db-01', disk), region));
  states.push(now.map(({ content }) => Buffer.from(content)));
  for (const number of numbers) {
    await writers[(number - 1) % disks.length]!.writeNext();
    states.push(now.map(({ content }) => Buffer.from(content)));
  }
});

const faultsOf = async (contents: readonly Buffer[], instant: number): Promise<readonly string[]> =>
  (await checkPrefix(journal, contents.map(memory), instant)).faults;
const copyOf = (number: number): Buffer[] => states[number]!.map((content) => Buffer.from(content));
const instantOf = (number: number): number => 10 * number + 8;

test('every state of the guest is an exact prefix, even the one before its first block', async () => {
  for (const number of [0, ...numbers]) {
    const report = await checkPrefix(journal, states[number]!.map(memory), instantOf(number));
    expect(report).toEqual({ last: number, faults: [] });
  }
  // A block that is under way may be there or not.
  const underWay = 10 * 100 + 3;
  expect(await faultsOf(copyOf(99), underWay)).toEqual([]);
  expect(await faultsOf(copyOf(100), underWay)).toEqual([]);
});

test('finds disks of two instants, at least two blocks apart', async () => {
  for (const apart of [2, 3, 50]) {
    for (const [os, data] of [
      [states[100]![0]!, states[100 + apart]![1]!],
      [states[100 + apart]![0]!, states[100]![1]!],
    ] as const) {
      // Whatever instant is claimed for them.
      for (const number of [100, 100 + apart]) {
        expect((await faultsOf([os, data], instantOf(number))).join('\n')).toMatch(/two instants|holds \d+ blocks/);
      }
    }
  }
});

test('finds a missing, swapped, older, foreign, torn or flipped block', async () => {
  const slots = region.length / NUMBERED_BLOCK_BYTES;
  const at = (slot: number) => region.offset + slot * NUMBERED_BLOCK_BYTES;
  const block = (content: Buffer, slot: number) => content.subarray(at(slot), at(slot) + NUMBERED_BLOCK_BYTES);
  for (let slot = 0; slot < slots; slot += 1) {
    const other = (slot + 1) % slots;
    const damages: Record<string, (content: Buffer, all: Buffer[]) => void> = {
      missing: (content) => void block(content, slot).fill(0),
      swapped: (content) => {
        const kept = Buffer.from(block(content, slot));
        block(content, other).copy(block(content, slot));
        kept.copy(block(content, other));
      },
      older: (content) => void block(states[22]![0]!, slot).copy(block(content, slot)),
      foreign: (_, all) => void numberedBlock(1, diskIdOf('web-01', 'os')).copy(block(all[0]!, slot)),
      'of the other disk': (content, all) => void block(all[1]!, slot).copy(block(content, slot)),
      torn: (content) => void block(content, slot).fill(0, 512 * 3),
      flipped: (content) => void (block(content, slot)[1000]! ^= 4),
    };
    for (const [name, damage] of Object.entries(damages)) {
      const copy = copyOf(150);
      damage(copy[0]!, copy);
      // A slot that only one round has reached is as it was.
      if (copy[0]!.equals(states[150]![0]!)) continue;
      expect(await faultsOf(copy, instantOf(150)), `${name}, slot ${slot}`).not.toEqual([]);
    }
  }
});

test('finds a state that is older or newer than it claims', async () => {
  expect(await faultsOf(copyOf(99), instantOf(100))).toEqual([
    'holds 99 blocks, although 100 were flushed before its instant',
    'holds 99 blocks, although 100 were acknowledged before',
  ]);
  expect(await faultsOf(copyOf(104), instantOf(105))).toEqual([
    'holds 104 blocks, although 105 were acknowledged before',
  ]);
  expect(await faultsOf(copyOf(101), instantOf(100))).toEqual([
    'holds 101 blocks, although only 100 had been written by its instant',
  ]);
});
