/**
 * Test VMs at the recovery site. Each is made from a recovery point of a VM, like a replica VM, but is never taken for
 * one: `RecoveryCompute.listVms` and the other operations do not know it.
 */
import type { HypervisorVm } from './hypervisor-vm.js';
import type { ReplicaVmSpec } from './recovery-compute.js';

export interface TestVmSpec extends ReplicaVmSpec {
  /** The name of the test VM. It is also the name of its network, which connects it to no other VM. */
  readonly name: string;
}

export interface TestVm extends HypervisorVm {
  /** The VM whose recovery point it runs from. */
  readonly testOf: string;
}

/** How a program has ended in a guest, and the end of what it printed; or why it did not run to its end. */
export type RunInGuest = { readonly exitCode: number; readonly output: string } | { readonly problem: string };

/**
 * A test VM writes to disks of its own, so nothing it does reaches the replica or the recovery point. It may run
 * whatever the epoch of its VM. Test VMs that were running are started again with the recovery compute.
 *
 * Every operation can be repeated: doing it twice has the same result as doing it once.
 * @throws CatalogueError VmNotFound, InvalidVmState, RecoverySideNotAnswering.
 */
export interface TestVms {
  listTestVms(): Promise<TestVm[]>;
  /**
   * Creates the test VM, powered off. Has no effect if it is repeated with the same spec.
   * @throws CatalogueError InvalidVmState if a VM with its name was made from something else.
   */
  createTestVm(spec: TestVmSpec): Promise<void>;
  startTestVm(name: string): Promise<TestVm>;
  turnOffTestVm(name: string): Promise<void>;
  /** The end of its guest's console, at most 64 KiB; empty if no guest is booted. */
  readTestConsole(name: string): Promise<Buffer>;
  /** Its guest's screen as a PNG; undefined if no guest is booted, or it has no screen. */
  readTestScreen(name: string): Promise<Buffer | undefined>;
  /** Runs a program in its guest. @param limitMs for the program to end, ms. */
  runInTestVm(name: string, command: readonly string[], limitMs: number): Promise<RunInGuest>;
  /** Turns it off first. Deletes everything it has written. Has no effect if there is no such test VM. */
  deleteTestVm(name: string): Promise<void>;
}
