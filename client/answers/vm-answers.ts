/** Answers of the commands about VMs, their jobs and plan runs, and the vault's data about them. */
import { z } from 'zod';
import { fenceSchema } from '../../domain/fence.js';
import { failbackPlanSchema } from '../../domain/job-preview.js';
import { failoverCancellationSchema } from '../../domain/failover-cancellation.js';
import { nameSchema } from '../../domain/ids.js';
import { progressSchema } from '../../domain/job.js';
import { pointChangeSchema } from '../../domain/point-change.js';
import { policySchema } from '../../domain/policy.js';
import { protectedItemSchema, cycleSchema } from '../../domain/protected-item.js';
import { isoTimeSchema } from '../../domain/time.js';
import { planRunSchema } from '../../domain/plan-run.js';
import {
  vm,
  jobId,
  store,
  bytes,
  phase,
  activeSide,
  health,
  power,
  fencing,
  hardware,
  disk,
  condition,
  attention,
  runningJob,
  point,
  damaged,
  guest,
  replicaVm,
  severalVms,
  testFailover,
  oneVm,
  previewed,
  startedRun,
  vmRow,
  chosenPoint,
  sealedCycle,
  permissions,
  jobSchema,
} from './parts.js';

export const vmAnswers = {
  status: z.strictObject({
    vault: z.string(),
    health,
    vms: z.array(
      vmRow.extend({
        conditions: z.array(condition),
        job: runningJob.optional(),
        testFailover: testFailover.optional(),
      }),
    ),
    attention: z.array(attention),
    unattended: z.array(z.string()).describe('Names of VMs whose replicas are no longer updated.'),
  }),
  'status --watch': z
    .strictObject({
      at: isoTimeSchema,
      vault: z.string(),
      health,
      vms: z.array(
        vmRow.extend({
          unseen: z.literal(true).optional().describe('True if it ran at that side when its host was last heard.'),
          stopped: z
            .literal(true)
            .optional()
            .describe('True if it should run at the recovery site but its replica VM is off or does not exist.'),
          lastCycle: cycleSchema.optional(),
          nextCycleAt: isoTimeSchema.optional(),
          testFailover: testFailover.optional(),
        }),
      ),
      hosts: z.array(
        z.strictObject({
          host: z.string(),
          vms: z.array(z.string()),
          health,
          silence: z
            .strictObject({
              host: z.string(),
              since: isoTimeSchema,
              heardAt: isoTimeSchema.optional(),
              silent: z.enum(['agent', 'hypervisor']),
            })
            .optional()
            .describe('Set while the host does not answer.'),
        }),
      ),
      jobs: z
        .array(
          z.strictObject({
            id: z.string(),
            title: z.string(),
            vm: vm.optional(),
            task: z.string().optional(),
            progress: progressSchema.optional(),
            bytesPerSecond: z.number().optional(),
            expectedEnd: isoTimeSchema.optional(),
            waitsFor: z.enum(['person', 'retry', 'plan']).optional(),
          }),
        )
        .describe('Running jobs and plan runs.'),
      attention: z.array(attention),
      stale: z
        .strictObject({ message: z.string(), heardAt: isoTimeSchema.optional() })
        .optional()
        .describe('Why this state is older than `at`.'),
    })
    .describe('One object per line, repeatedly.'),
  'vm list': z.strictObject({
    vms: z.array(
      vmRow.extend({
        inSiteFile: z.boolean(),
        power: power.optional(),
        disks: z.array(disk),
        bytes: bytes.optional().describe('Virtual size of all disks.'),
        protectable: z.boolean().optional().describe('Left out if unknown.'),
        problem: z.string().optional().describe('Why it cannot be protected now.'),
      }),
    ),
  }),
  'vm list --side recovery': z.strictObject({ vms: z.array(replicaVm) }),
  'vm show': vmRow.extend({
    epoch: z.int().optional(),
    conditions: z.array(condition),
    policy: policySchema,
    job: runningJob.optional(),
    testFailover: testFailover.optional(),
    lastTestFailover: protectedItemSchema.shape.lastDrill,
    applied: cycleSchema.optional().describe('The newest cycle that the replica holds.'),
    resync: protectedItemSchema.shape.resync,
    power: power.optional(),
    guest: guest.optional(),
    fencing: fencing.optional(),
    hardware: hardware.optional(),
    disks: z.array(disk),
    problem: z.string().optional(),
    replicaVm: replicaVm.optional(),
    recoveryPoints: z.array(point).optional().describe('Oldest first; left out if the store cannot be read.'),
    damaged: damaged.optional(),
    latest: z
      .strictObject({
        latest: chosenPoint.optional(),
        latestProcessed: chosenPoint.optional(),
        latestAppConsistent: chosenPoint.optional(),
      })
      .optional()
      .describe('The recovery point that each choice selects now.'),
    operations: permissions.optional().describe('Operations that are allowed now, and why the others are not.'),
    next: z.string().describe('The command to type next, and its purpose.'),
  }),
  'vm start': z.strictObject({
    vm,
    activeSide,
    madeAgain: z.boolean().optional().describe('True if its replica VM no longer existed.'),
  }),
  'vm delete-replica': z.strictObject({ vm, deleted: z.literal(true) }),
  protect: z.strictObject({
    vms: z.array(
      z.strictObject({
        vm,
        jobId,
        phase: phase.optional().describe('With --wait.'),
        health: health.optional(),
        problem: z.string().optional().describe('With --wait: why it is not protected.'),
      }),
    ),
  }),
  sync: z.strictObject({
    vm,
    sequence: z.int().describe('The cycle that holds everything written until now.'),
    tag: z.string().optional(),
    applied: cycleSchema.optional().describe('With --wait: the newest cycle that the replica holds.'),
    recoveryPoint: z
      .string()
      .optional()
      .describe('With --wait: id of the point that got the name, otherwise of the newest.'),
    recoveryPointTime: isoTimeSchema.optional().describe('Its time; left out for a named one.'),
    rpoSeconds: z.number().optional(),
  }),
  retry: z.strictObject({ vm, retried: z.string().describe('The step that is retried.') }),
  resynchronize: oneVm.extend({
    jobId: jobId.optional().describe('With --now.'),
    dueAt: isoTimeSchema.optional().describe('Without --now: when it starts automatically, once that is known.'),
  }),
  pause: z.strictObject({ vm, since: isoTimeSchema }),
  resume: z.strictObject({ vm, cycleDueAt: isoTimeSchema.optional() }),
  'set-policy': z.strictObject({
    vm,
    policyName: nameSchema,
    cycleDueAt: isoTimeSchema.optional(),
  }),
  verify: oneVm,
  'test-failover': oneVm,
  'cleanup-test-failover': oneVm,
  unprotect: severalVms,
  failover: severalVms,
  commit: severalVms,
  'cancel-failover': previewed.extend({
    cancellation: failoverCancellationSchema
      .optional()
      .describe('With --dry-run: its source, the point it runs from, and what the replica VM has written.'),
  }),
  'change-recovery-point': previewed.extend({
    pointChange: pointChangeSchema
      .optional()
      .describe('With --dry-run: the point it runs from, the new one, and what the replica VM has written.'),
  }),
  failback: previewed.extend({
    failback: failbackPlanSchema.optional().describe('With --dry-run: where to, and what the replica VM has written.'),
  }),
  'complete-failback': oneVm,
  'cancel-failback': oneVm,
  'reverse-replicate': oneVm,
  'plan run': startedRun,
  'plan list': z.strictObject({ planRuns: z.array(planRunSchema) }),
  'plan show': planRunSchema,
  'plan cancel': startedRun,
  'plan commit': severalVms,
  'vault list': z.strictObject({
    store,
    vms: z.array(
      z.strictObject({
        vm,
        host: z.string(),
        phase: phase.describe('As far as the store records it.'),
        unprotectedAt: isoTimeSchema.optional().describe('When its protection ended; its replica was kept.'),
        activeSide: activeSide.describe('Where it runs, as far as the store records it.'),
        disks: z.array(disk),
        epoch: z.int(),
        fence: fenceSchema,
        applied: sealedCycle.optional().describe('The newest cycle that the replica holds.'),
        received: z.array(sealedCycle).describe('Complete but not applied yet.'),
        recoveryPoints: z.array(point),
        damaged,
        jobs: z.strictObject({
          count: z.int(),
          newest: jobSchema.partial().required({ id: true }).optional().describe('As far as its record can be read.'),
        }),
      }),
    ),
    unreadable: z.array(z.strictObject({ vm, problem: z.string() })),
  }),
  'recovery-point list': z.strictObject({
    vm,
    recoveryPoints: z
      .array(
        point.extend({
          ageSeconds: z.int().describe('Time since its instant.'),
          heldBy: z
            .array(z.enum(['replicaVm', 'testVm', 'reader']))
            .describe('Why it is not deleted, however old it is: a VM runs from it, or it is being read.'),
        }),
      )
      .describe('Oldest first.'),
    damaged,
  }),
  'vault export': z.strictObject({
    vm,
    recoveryPoint: z.string(),
    time: isoTimeSchema.describe('The instant that the disks show.'),
    cyclesAdded: z.int().describe('Received cycles that were added on top of the point.'),
    suspect: z.string().optional().describe('Why it may not match what the guest wrote.'),
    stoppedBy: z.string().optional().describe('Newer data that is damaged and left out.'),
    ranFrom: isoTimeSchema
      .optional()
      .describe('The VM runs at the recovery site from the state of this time; data written there is not exported.'),
    folder: z.string(),
    disks: z.array(disk),
  }),
  'vault adopt': z.strictObject({
    vms: z.array(
      z.strictObject({
        vm,
        phase: phase.optional(),
        policyName: z.string().optional().describe('The policy it keeps, if the site file has another policy for it.'),
        resyncCause: z.string().optional().describe('Why it has to be resynchronized.'),
        refusal: z.string().optional().describe('Why it was skipped.'),
      }),
    ),
  }),
  'job list': z.strictObject({ jobs: z.array(jobSchema) }),
  'job show': jobSchema,
  'job cancel': z.strictObject({ jobId }),
} as const satisfies Record<string, z.ZodObject>;
