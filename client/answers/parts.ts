/** Parts that several answers share. */
import { z } from 'zod';
import { fenceSchema } from '../../domain/fence.js';
import { fencingKinds } from '../../domain/fencing.js';
import { guestStateSchema } from '../../domain/guest.js';
import { hardwareSchema } from '../../domain/hardware.js';
import { jobSchema as recordSchema, progressSchema, retryStateSchema } from '../../domain/job.js';
import { jobKinds } from '../../domain/jobs/known-jobs.js';
import { operations, type Operation } from '../../domain/operations.js';
import { phases } from '../../domain/protected-item.js';
import { isoTimeSchema } from '../../domain/time.js';
import { recoveryPointSchema } from '../../domain/vault.js';
import { planRunSchema } from '../../domain/plan-run.js';

export const vm = z.string().describe('Name of the VM.');
export const jobId = z.string().describe('Id of a job, for `farshore job show`.');
export const planRun = z.string().describe('Id of a plan run, for `farshore plan show`.');
export const store = z.string().describe("Place of the replica store: a folder, or a container's address.");
export const bytes = z.int().min(0);
export const phase = z.enum(phases);
const side = z.enum(['primary', 'recovery']);
export const activeSide = side.describe('Where the VM runs.');
export const health = z.enum(['Normal', 'Warning', 'Critical']);
export const power = z.enum(['Running', 'Off']).describe('Whether the VM runs, according to its hypervisor.');

export const disk = z.strictObject({
  name: z.string(),
  path: z.string().optional().describe('Its file.'),
  format: z.string().optional(),
  size: bytes.optional().describe('Virtual size, bytes.'),
  excluded: z.boolean().optional().describe('The disk is not replicated.'),
  logBytes: bytes.optional().describe('Bytes of its change logs.'),
  nbdUri: z.string().optional().describe('NBD address of the disk, while the VM runs.'),
});
export const condition = z.strictObject({
  reason: z.string(),
  health: health.exclude(['Normal']),
  message: z.string(),
  remedy: z.string().optional(),
  since: isoTimeSchema.optional(),
});
export const attention = z.strictObject({
  vms: z.array(z.string()).describe('Names of the affected VMs.'),
  host: z.string().optional().describe('Set when a whole host is affected.'),
  health: health.exclude(['Normal']),
  message: z.string(),
  since: isoTimeSchema.optional(),
  heardAt: isoTimeSchema.optional().describe("The host's last sign of life."),
  advice: z.array(z.string()).describe('Advice: sentences, and commands to type.'),
});
/** The kinds of jobs that this version knows; stored records may have newer kinds. */
const jobKind = z.enum(jobKinds);
export const jobSchema = recordSchema.extend({ kind: jobKind });
export const runningJob = z.strictObject({
  jobId,
  kind: jobKind,
  startedAt: isoTimeSchema,
  task: z.string().optional(),
  progress: progressSchema.optional(),
  retry: retryStateSchema.optional(),
});
export const point = z.strictObject({
  id: z.string(),
  time: isoTimeSchema.describe('The instant that the disks show.'),
  kind: recoveryPointSchema.shape.kind,
  tags: z.array(z.string()).optional().describe('Names that operators gave it.'),
  suspect: z.string().optional().describe('Why it may not match what the guest wrote.'),
});
export const damaged = z
  .array(z.strictObject({ name: z.string(), problem: z.string() }))
  .describe('Unusable records, which are left out.');
export const fencing = z
  .enum(fencingKinds)
  .describe('Whether its host refuses to start it after a failover, or only has a setting that keeps it off.');
export const hardware = hardwareSchema.describe('Hardware according to its hypervisor.');
export const guest = guestStateSchema.describe(
  'Left out where no guest is booted: a VM that runs is its served disks.',
);
export const replicaVm = z.strictObject({
  vm,
  testOf: z.string().optional().describe('Set for a test VM: the VM that it was made from.'),
  power,
  guest: guest.optional(),
  hardware: hardware.optional().describe('Hardware of its source, as recorded in the vault.'),
  disks: z.array(disk),
});

export const testFailover = z
  .strictObject({
    testVm: z.string(),
    since: isoTimeSchema.optional().describe('When it began.'),
    jobId: jobId.optional().describe('The job that is starting it or cleaning it up.'),
    reason: z.string().optional().describe('Why the operator started it.'),
    network: z.string().optional().describe('The network of the test VM, which no other VM is connected to.'),
    booted: z.boolean().optional(),
    passed: z.boolean().optional().describe('Whether it has booted and passed its checks.'),
    problem: z.string().optional().describe('Why it has not passed.'),
    cleanUpAt: isoTimeSchema.optional().describe('When it is cleaned up automatically.'),
    recoveryPoint: z.string().optional(),
    recoveryPointTime: isoTimeSchema.optional(),
  })
  .describe('The test failover that has not been cleaned up yet.');

/** The answer of a command that starts a job for each of several VMs. */
export const severalVms = z.strictObject({
  vms: z.array(
    z.strictObject({
      vm,
      jobId: jobId.optional(),
      done: z.string().optional().describe('Set instead of a job if the request was already done.'),
      job: jobSchema.optional().describe('With --wait: how it ended, or where it is stuck.'),
    }),
  ),
});
/** The answer of a command that starts a job for one VM. */
export const oneVm = z.strictObject({
  vm,
  jobId,
  job: jobSchema.optional().describe('With --wait: how it ended, or where it is stuck.'),
});
/** As `oneVm`, for a job that can be previewed. */
export const previewed = oneVm.extend({
  jobId: jobId.optional().describe('Left out with --dry-run.'),
  dryRun: z.literal(true).optional(),
  blockers: z.array(z.string()).optional().describe('With --dry-run: why the job would fail; empty if it would not.'),
});
export const startedRun = z.strictObject({
  planRun,
  run: planRunSchema.optional().describe('With --wait: how it ended, or where it is stuck.'),
});

export const vmRow = z.strictObject({
  vm,
  host: z.string().optional(),
  phase,
  activeSide: activeSide.optional(),
  health: health.optional().describe('Left out while the VM is not protected.'),
  rpoSeconds: z.number().optional(),
});
export const chosenPoint = z.strictObject({
  id: z.string(),
  time: isoTimeSchema,
  process: z.int().describe('Received cycles that must be processed first.'),
  suspect: z.string().optional().describe('Why it may not match what the guest wrote.'),
});
export const sealedCycle = fenceSchema.extend({ sealedAt: isoTimeSchema });

const permission = z.discriminatedUnion('allowed', [
  z.strictObject({
    allowed: z.literal(true),
    waitsFor: z.string().optional().describe('If it is requested now, the operation will wait for this.'),
  }),
  z.strictObject({ allowed: z.literal(false), reason: z.string() }),
]);
export const permissions = z.strictObject(
  Object.fromEntries(operations.map((operation) => [operation, permission])) as Record<Operation, typeof permission>,
);
