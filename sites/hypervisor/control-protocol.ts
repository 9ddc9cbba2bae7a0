/**
 * The control interface of the embedded hypervisor: `POST /<operation>` with one JSON object, on a unix socket. It
 * answers 200 with `{result}`, or an error status with `{code, detail}`, where the code is from the error catalogue.
 */
import { z } from 'zod';
import { appConsistentFailureSchema } from '../../domain/app-consistency.js';
import { failureCodeSchema } from '../../domain/errors.js';
import { fenceSchema } from '../../domain/fence.js';
import { fencingKinds } from '../../domain/fencing.js';
import { guestStateSchema } from '../../domain/guest.js';
import { hardwareSchema } from '../../domain/hardware.js';
import { nameSchema } from '../../domain/ids.js';
import { isoTimeSchema } from '../../domain/time.js';
import type { VmFileKind } from '../../ports/vm-files.js';
import { pointDiskSchema, replicaVmSpecSchema } from './replica-vm-spec.js';
import { testVmSpecSchema } from './test-vms.js';

/** Kinds of `VmFiles`. */
const vmFileKinds = [
  'changeLogs',
  'oldChangeLogs',
  'overlays',
  'vmState',
  'vmFolder',
  'testVmFolder',
  'unfinished',
] as const satisfies readonly VmFileKind[];

const count = z.int().min(0);
const vm = z.object({ vm: nameSchema });
const vmAndEpoch = z.object({ vm: nameSchema, epoch: count });
const whichVm = vm.extend({ madeBefore: count.exactOptional() });
const vmAndFence = z.object({ vm: nameSchema, fence: fenceSchema });
const writtenState = z.object({ epoch: count, lastWrites: z.record(z.string(), count) });
const nothing = z.null();

const failback = z.object({
  epoch: count,
  received: count.exactOptional(),
  isCommitted: z.boolean().exactOptional(),
  original: z
    .object({ epoch: count, lastWrites: z.array(z.object({ name: z.string(), lastWrite: count })).readonly() })
    .exactOptional(),
});

const describedVm = z.object({
  name: nameSchema,
  state: z.enum(['Running', 'Off']),
  guest: guestStateSchema.exactOptional(),
  disks: z
    .array(
      z.object({
        name: nameSchema,
        path: z.string(),
        format: z.string(),
        size: count,
        nbdUri: z.string().exactOptional(),
        logBytes: count.exactOptional(),
        excluded: z.boolean().exactOptional(),
      }),
    )
    .readonly(),
  tracking: z
    .object({
      epoch: count,
      openSequence: count,
      resyncCause: z.string().exactOptional(),
      lastWrites: z.record(z.string(), count).readonly(),
    })
    .exactOptional(),
  fencing: z.enum(fencingKinds),
  hardware: hardwareSchema.exactOptional(),
  snapshot: z.string().exactOptional(),
  failback: failback.exactOptional(),
  failure: z.object({ code: failureCodeSchema, detail: z.string() }).exactOptional(),
});

const base64 = z.base64();
const ranInGuest = z.union([z.object({ exitCode: z.int(), output: z.string() }), z.object({ problem: z.string() })]);

const describedTestVm = describedVm.extend({ testOf: nameSchema });

const cut = z.object({
  vm: nameSchema,
  ...fenceSchema.shape,
  sealedAt: isoTimeSchema,
  final: z.boolean(),
  appConsistent: z.boolean().exactOptional(),
  appConsistentFailure: appConsistentFailureSchema.exactOptional(),
  disks: z.array(z.object({ name: nameSchema, size: count, token: z.string(), lastWrite: count })).readonly(),
});

const cutIdentity = z.object({
  vm: nameSchema,
  ...fenceSchema.shape,
  disks: z.array(z.object({ name: nameSchema, token: z.string() })).readonly(),
});

/** How long a guest may be kept frozen, ms. */
const freeze = z.object({ deadlineMs: z.int().min(1).max(60_000) });

interface Operation {
  readonly input: z.ZodType;
  readonly output: z.ZodType;
  /** How long a client waits, ms. The operation may have to wait for guests, other requests, or a sync. */
  readonly timeoutMs: number;
}

const operation = <I extends z.ZodType, O extends z.ZodType>(input: I, output: O, timeoutMs = 30_000) => ({
  input,
  output,
  timeoutMs,
});

/** The operations of a source of changes, at either site. */
export const changeOperations = {
  listVms: operation(z.object({}), z.array(describedVm)),
  describeVm: operation(vm, describedVm),
  beginReplication: operation(vmAndEpoch, nothing, 120_000),
  continueReplication: operation(vmAndEpoch.extend({ unchangedSince: writtenState }), nothing, 120_000),
  endReplication: operation(vm.extend({ ofEpoch: count.exactOptional() }), nothing, 120_000),
  snapshotFile: operation(
    z.object({ vm: nameSchema, epoch: count, disk: nameSchema }),
    z.object({
      path: z.string(),
      format: z.string(),
      size: count,
      file: z.string().exactOptional(),
      point: pointDiskSchema.exactOptional(),
    }),
  ),
  mergeSnapshot: operation(vm, count, 60_000),
  cut: operation(
    vmAndFence.extend({ appConsistent: freeze.exactOptional(), existing: z.boolean().exactOptional() }),
    cut,
    300_000,
  ),
  snapshotAndCut: operation(vmAndFence, cut, 300_000),
  releaseCuts: operation(cutIdentity, nothing, 60_000),
} satisfies Record<string, Operation>;

const fileOperations = {
  listFiles: operation(
    z.object({}),
    z.array(z.object({ kind: z.enum(vmFileKinds), vm: nameSchema, bytes: count, changedAt: isoTimeSchema })),
    60_000,
  ),
  removeFiles: operation(z.object({ kind: z.enum(vmFileKinds), vm: nameSchema }), nothing, 120_000),
} satisfies Record<string, Operation>;

/** Waits long enough for a guest that uses all of the time it is allowed. */
const shutDownVm = operation(vm, z.object({ exportsClosedAt: isoTimeSchema }), 300_000);

export const hypervisorOperations = {
  ...changeOperations,
  ...fileOperations,
  startVm: operation(vmAndEpoch, nothing, 120_000),
  shutDownVm,
  turnOffVm: operation(vm, nothing, 120_000),
  fenceVm: operation(vmAndEpoch, nothing),
  beginFailback: operation(vmAndEpoch, failback, 120_000),
  /** The address of each disk, keyed by name; null if the layers hold the change set. */
  serveFailback: operation(vmAndFence, z.record(z.string(), z.string()).readonly().nullable(), 120_000),
  completeFailback: operation(vmAndFence, nothing, 300_000),
  commitFailback: operation(vmAndEpoch, nothing),
  discardFailback: operation(vmAndEpoch, nothing, 120_000),
} satisfies Record<string, Operation>;

export const recoveryOperations = {
  ...changeOperations,
  ...fileOperations,
  createVm: operation(replicaVmSpecSchema, nothing, 120_000),
  startVm: operation(vmAndEpoch, describedVm, 120_000),
  shutDownVm,
  turnOffVm: operation(whichVm, nothing, 120_000),
  deleteVm: operation(whichVm, nothing, 120_000),
  listWritten: operation(
    z.object({ vm: nameSchema, disk: nameSchema, from: count, ofSnapshot: z.boolean().exactOptional() }),
    z.object({
      ranges: z.array(z.object({ offset: count, length: count })).readonly(),
      /** Offset at which the next page starts; absent on the last page. */
      next: count.exactOptional(),
    }),
    60_000,
  ),
  listTestVms: operation(z.object({}), z.array(describedTestVm)),
  createTestVm: operation(testVmSpecSchema, nothing, 120_000),
  startTestVm: operation(vm, describedTestVm, 120_000),
  turnOffTestVm: operation(vm, nothing, 120_000),
  deleteTestVm: operation(vm, nothing, 120_000),
  readTestConsole: operation(vm, base64),
  readTestScreen: operation(vm, base64.nullable()),
  // Longer than any check may take.
  runInTestVm: operation(vm.extend({ command: z.array(z.string()).min(1), limitMs: count }), ranInGuest, 660_000),
} satisfies Record<string, Operation>;

export type Operations = Readonly<Record<string, Operation>>;

/** The function that runs each operation. It resolves to `null` if there is no result. */
export type Handlers<T extends Operations> = {
  readonly [K in keyof T]: (input: z.output<T[K]['input']>) => Promise<z.input<T[K]['output']>>;
};

export const controlFailureSchema = z.object({
  code: failureCodeSchema.or(z.literal('Unexpected')),
  detail: z.string(),
});
