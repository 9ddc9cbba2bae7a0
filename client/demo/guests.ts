/** The demo's guests: booted in QEMU, or writers that use the disks of their VM over NBD like any guest. */
import type { DemoDisk } from './demo-site.js';

export type Side = 'primary' | 'recovery';

/** The newest thing that a guest has written to a disk: the disk must hold it and everything before. */
export interface Written {
  readonly vm: string;
  readonly disk: string;
  /** Lines of a file in its file system, or blocks of a region of its own. */
  readonly kind: 'transactions' | 'blocks';
  /** Counted from 1; 0 if there is none. */
  readonly newest: number;
}

export interface DemoGuests {
  readonly areBooted: boolean;
  /**
   * Resolves once the guest of a VM works at a site, where its VM was just started.
   * @param uriOf the NBD URI of a disk at that site.
   */
  begin(vm: string, side: Side, uriOf: (disk: DemoDisk) => string): Promise<void>;
  /** Whether QEMU has booted the guest of a VM there, and it has not shut down. */
  isBooted(vm: string, side: Side): Promise<boolean>;
  /** Resolves once the guest has ended, because its VM was shut down. @returns what it has written to each disk. */
  ended(vm: string): Promise<Written[]>;
  stop(): Promise<void>;
}
