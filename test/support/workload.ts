/** Guests that write to the disks of a VM until they are stopped, or whoever serves them is killed. */
import { expect } from 'vitest';
import type { VmInventory } from '../../ports/hypervisor-vm.js';
import { NbdGuest } from '../../sites/nbd/guest.js';

type Inventory = Pick<VmInventory, 'describeVm'>;

/** Of a VM that runs, with one of its disks. */
export async function guestOf(hypervisor: Inventory, vm: string, disk: string): Promise<NbdGuest> {
  const { disks } = await hypervisor.describeVm(vm);
  return NbdGuest.connect(disks.find(({ name }) => name === disk)!.nbdUri!);
}

const SECTOR = 512;

interface Written {
  readonly stamp: number;
  readonly issued: number;
  acknowledged: number;
}

/**
 * Guests that write over each other, and what may be on the disks: of every sector the writes that no other one,
 * issued after they were acknowledged, has replaced.
 */
export class Workload {
  #clock = 0;
  readonly #possible: Map<number, Written[]>[];
  acknowledged = 0;

  constructor(
    private readonly hypervisor: Inventory,
    private readonly vm: string,
    private readonly disks: readonly string[],
  ) {
    this.#possible = disks.map(() => new Map());
  }

  async write(count: number): Promise<void> {
    await this.stop(this.start(count));
  }

  /** Three connections a disk, until stopped, or until the hypervisor dies. */
  start(count = Infinity): { running: boolean; ended: Promise<unknown> } {
    const state = { running: true, ended: Promise.resolve() as Promise<unknown> };
    state.ended = Promise.all(
      this.disks.flatMap((name, disk) =>
        [0, 1, 2].map(async () => {
          const guest = await guestOf(this.hypervisor, this.vm, name).catch(() => undefined);
          if (!guest) return;
          for (let i = 0; state.running && i < count; i += 1) {
            const writes = [0, 1, 2].map(() => this.#write(guest, disk));
            if ((await Promise.allSettled(writes)).some((result) => result.status === 'rejected')) break;
          }
          await guest.close();
        }),
      ),
    );
    return state;
  }

  async stop(state: { running: boolean; ended: Promise<unknown> }): Promise<void> {
    state.running = false;
    await state.ended;
  }

  async #write(guest: NbdGuest, disk: number): Promise<void> {
    // Half of them meet on a spot of 8 KiB.
    const first = Math.floor(Math.random() * (Math.random() < 0.5 ? 2 : 256)) * 8;
    const sectors = 1 + Math.floor(Math.random() * 16);
    const zero = Math.random() < 0.15;
    const issued = ++this.#clock;
    const written: Written = { stamp: zero ? 0 : issued, issued, acknowledged: Infinity };
    const possible = this.#possible[disk]!;
    for (let s = first; s < first + sectors; s += 1) possible.set(s, [...(possible.get(s) ?? []), written]);
    const range = { offset: first * SECTOR, length: sectors * SECTOR };
    if (zero) await guest.writeZeroes(range);
    else {
      const data = Buffer.alloc(range.length);
      for (let at = 0; at < data.length; at += 4) data.writeUInt32LE(written.stamp, at);
      await guest.write(data, range.offset);
    }
    written.acknowledged = ++this.#clock;
    this.acknowledged += 1;
    for (let s = first; s < first + sectors; s += 1) {
      possible.set(
        s,
        possible.get(s)!.filter((other) => other === written || other.acknowledged >= issued),
      );
    }
  }

  async contentOf(disk: string): Promise<Buffer> {
    const guest = await guestOf(this.hypervisor, this.vm, disk);
    const content = Buffer.alloc(guest.size);
    await guest.read(content, 0);
    await guest.close();
    return content;
  }

  /** With nothing in flight: every sector holds one of its possible writes, and from now on only that. */
  async checkAndSettle(): Promise<void> {
    for (const [disk, name] of this.disks.entries()) {
      const content = await this.contentOf(name);
      for (const [sector, writes] of this.#possible[disk]!) {
        if (!writes.some((written) => written.acknowledged < Infinity)) continue;
        const bytes = content.subarray(sector * SECTOR, (sector + 1) * SECTOR);
        const stamp = bytes.readUInt32LE(0);
        const found = writes.filter((written) => written.stamp === stamp);
        expect(found.length, `sector ${sector} of ${name} holds ${stamp}`).toBeGreaterThan(0);
        expect(bytes.equals(Buffer.alloc(SECTOR, bytes.subarray(0, 4)))).toBe(true);
        this.#possible[disk]!.set(sector, [{ ...found[0]!, acknowledged: this.#clock }]);
      }
    }
  }
}
