/**
 * A guest whose disks have one order: numbered blocks, each written once the one before is acknowledged, round about
 * over all disks of its VM. Block n goes to disk (n - 1) modulo their number, where it is the next of that disk, so the
 * disks of one instant hold a prefix of 1, 2, 3, … between them, and those of two instants do not.
 * It goes on through restarts of its hypervisor, and remembers when what was written.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { NbdError, NbdGuest } from '../../sites/nbd/guest.js';
import { NumberedWriter } from '../../sites/nbd/numbered-writer.js';
import type { Range } from '../../domain/ranges.js';

/** What is known of a guest's writes, by the clock of the test. */
export interface GuestJournal {
  readonly vm: string;
  readonly disks: readonly string[];
  /** Where its blocks lie on each disk, bytes. */
  readonly region: Range;
  /** By number less 1: when it was written first, ms since 1970. */
  readonly issuedAt: readonly number[];
  /** By number less 1: when it was acknowledged. */
  readonly acknowledgedAt: readonly number[];
  /** The newest number that a flush of all disks covers, each time. */
  readonly flushes: readonly { readonly number: number; readonly at: number }[];
}

export const diskIdOf = (vm: string, disk: string): string => `${vm}/${disk}`;

/** How many of the blocks 1 to `last` are on the disk with this index. */
export const blocksOf = (last: number, index: number, disks: number): number => Math.ceil((last - index) / disks);

interface GuestOptions {
  readonly vm: string;
  readonly disks: readonly string[];
  readonly region: Range;
  /** Written to as well, at random and with whatever there is to write: told by comparing disks only. */
  readonly noise?: Range;
  /** Between two blocks, ms. @default 2 */
  readonly pauseMs?: number;
  /** @returns where the disks are served now, in the order of `disks`. */
  readonly urisOf: () => Promise<readonly string[]>;
  /** @default Math.random */
  readonly random?: () => number;
}

const BLOCKS_PER_FLUSH = 16;
const BLOCKS_PER_NOISE = 8;
const RECONNECT_MS = 100;
const SECTOR = 512;

/** What it acknowledged is no longer there. */
export class LostWrites extends Error {
  override readonly name = 'LostWrites';
}

export class OrderedGuest implements GuestJournal {
  readonly issuedAt: number[] = [];
  readonly acknowledgedAt: number[] = [];
  readonly flushes: { number: number; at: number }[] = [];
  /** How often it was told that there is no space for what it writes. */
  refusedForSpace = 0;
  #stopped = false;
  #running: Promise<void> = Promise.resolve();

  constructor(private readonly options: GuestOptions) {}

  get vm(): string {
    return this.options.vm;
  }
  get disks(): readonly string[] {
    return this.options.disks;
  }
  get region(): Range {
    return this.options.region;
  }
  /** The newest number that was acknowledged. */
  get acknowledged(): number {
    return this.acknowledgedAt.length;
  }

  start(): void {
    this.#stopped = false;
    this.#running = this.#run();
    // Told by `stop`.
    this.#running.catch(() => undefined);
  }

  /** Resolves when it has ended. @throws LostWrites when it found that something it relied on was gone. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const connections: NbdGuest[] = [];
      try {
        for (const uri of await this.options.urisOf()) connections.push(await NbdGuest.connect(uri));
        await this.#write(connections, await this.#resume(connections));
      } catch (error) {
        if (error instanceof LostWrites) throw error;
        if (error instanceof NbdError && error.code === 'ENOSPC') this.refusedForSpace += 1;
        // Its disks were taken away, as by a hypervisor that was killed.
        await sleep(RECONNECT_MS);
      } finally {
        for (const connection of connections) connection.cut();
      }
    }
  }

  /** The block under way when the disks were taken away may be there or not. */
  async #resume(connections: readonly NbdGuest[]): Promise<NumberedWriter[]> {
    const { vm, disks, region } = this.options;
    const writers: NumberedWriter[] = [];
    for (const [index, disk] of disks.entries()) {
      writers.push(await NumberedWriter.resume(connections[index]!, diskIdOf(vm, disk), region));
    }
    const found = writers.reduce((sum, { acknowledged }) => sum + acknowledged, 0);
    const expected = writers.map((_, index) => blocksOf(found, index, disks.length));
    const exact = writers.every(({ acknowledged }, index) => acknowledged === expected[index]);
    if (!exact || found < this.acknowledged || found > this.issuedAt.length) {
      const has = writers.map(({ acknowledged }) => acknowledged).join(' and ');
      throw new LostWrites(
        `${vm}: the disks hold ${has} blocks; ${this.acknowledged} were acknowledged, ${this.issuedAt.length} written`,
      );
    }
    while (this.acknowledgedAt.length < found) this.acknowledgedAt.push(Date.now());
    return writers;
  }

  async #write(connections: readonly NbdGuest[], writers: readonly NumberedWriter[]): Promise<void> {
    while (!this.#stopped) {
      const number = this.acknowledged + 1;
      // Written again after a restart it keeps the time it was written first.
      this.issuedAt[number - 1] ??= Date.now();
      await writers[(number - 1) % writers.length]!.writeNext();
      this.acknowledgedAt.push(Date.now());
      if (number % BLOCKS_PER_FLUSH === 0) {
        await Promise.all(connections.map((connection) => connection.flush()));
        this.flushes.push({ number, at: Date.now() });
      }
      if (number % BLOCKS_PER_NOISE === 0) await this.#makeNoise(connections);
      await sleep(this.options.pauseMs ?? 2);
    }
  }

  async #makeNoise(connections: readonly NbdGuest[]): Promise<void> {
    const { noise, random = Math.random } = this.options;
    if (!noise) return;
    const below = (limit: number) => Math.floor(random() * limit);
    const connection = connections[below(connections.length)]!;
    const length = SECTOR * (1 + below(64));
    const range = { offset: noise.offset + SECTOR * below((noise.length - length) / SECTOR), length };
    const kind = below(4);
    if (kind === 0) await connection.writeZeroes(range);
    else if (kind === 1) await connection.trim(range);
    else await connection.write(randomBytes(length), range.offset);
  }
}
