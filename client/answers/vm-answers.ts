/** Of commands about VMs, their jobs and plan runs, and what the vault holds of them. */
import { z } from 'zod';
import { fenceSchema } from '../../domain/fence.js';
import { nameSchema } from '../../domain/ids.js';
import { progressSchema } from '../../domain/job.js';
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
  replicaVm,
  severalVms,
  oneVm,
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
    vms: z.array(vmRow.extend({ conditions: z.array(condition), job: runningJob.optional() })),
    attention: z.array(attention),
    unattended: z.array(z.string()).describe('Names of VMs whose replicas nothing keeps up to date any more.'),
  }),
  'status --watch': z
    .strictObject({
      at: isoTimeSchema,
      vault: z.string(),
      health,
      vms: z.array(
        vmRow.extend({
          unseen: z.literal(true).optional().describe('It ran at that side when its host was last heard.'),
          stopped: z
            .literal(true)
            .optional()
            .describe('It should run at the recovery site, and its replica VM is off or not there.'),
          lastCycle: cycleSchema.optional(),
          nextCycleAt: isoTimeSchema.optional(),
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
        .describe('Why this is not as of `at`.'),
    })
    .describe('One of these a line, again and again.'),
  'vm list': z.strictObject({
    vms: z.array(
      vmRow.extend({
        inSiteFile: z.boolean(),
        power: power.optional(),
        disks: z.array(disk),
        bytes: bytes.optional().describe('Virtual size of all disks.'),
        protectable: z.boolean().optional().describe('Left out: nobody knows.'),
        problem: z.string().optional().describe('Why it cannot be protected as it is.'),
      }),
    ),
  }),
  'vm list --side recovery': z.strictObject({ vms: z.array(replicaVm) }),
  'vm show': vmRow.extend({
    epoch: z.int().optional(),
    conditions: z.array(condition),
    policy: policySchema,
    job: runningJob.optional(),
    applied: cycleSchema.optional().describe('The newest cycle that the replica holds.'),
    resync: protectedItemSchema.shape.resync,
    power: power.optional(),
    fencing: fencing.optional(),
    hardware: hardware.optional(),
    disks: z.array(disk),
    problem: z.string().optional(),
    replicaVm: replicaVm.optional(),
    recoveryPoints: z.array(point).optional().describe('The oldest first; left out when the store does not tell.'),
    damaged: damaged.optional(),
    latest: z
      .strictObject({
        latest: chosenPoint.optional(),
        latestProcessed: chosenPoint.optional(),
        latestAppConsistent: chosenPoint.optional(),
      })
      .optional()
      .describe('What each choice of a recovery point means now.'),
    operations: permissions.optional().describe('What may be asked of the VM now, and why not the rest.'),
    next: z.string().describe('The command to type next, and what for.'),
  }),
  'vm start': z.strictObject({
    vm,
    activeSide,
    madeAgain: z.boolean().optional().describe('Its replica VM was not there any more.'),
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
    recoveryPoint: z.string().optional().describe('With --wait: id of the one named, else of the newest.'),
    recoveryPointTime: isoTimeSchema.optional().describe('The instant it is of; left out of a named one.'),
    rpoSeconds: z.number().optional(),
  }),
  retry: z.strictObject({ vm, retried: z.string().describe('What is tried again.') }),
  resynchronize: oneVm.extend({
    jobId: jobId.optional().describe('With --now.'),
    dueAt: isoTimeSchema.optional().describe('Without --now: when it begins by itself, once that is known.'),
  }),
  pause: z.strictObject({ vm, since: isoTimeSchema }),
  resume: z.strictObject({ vm, cycleDueAt: isoTimeSchema.optional() }),
  'set-policy': z.strictObject({
    vm,
    policyName: nameSchema,
    cycleDueAt: isoTimeSchema.optional(),
  }),
  verify: oneVm,
  unprotect: severalVms,
  failover: severalVms,
  commit: severalVms,
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
        phase: phase.describe('As far as the store tells.'),
        unprotectedAt: isoTimeSchema.optional().describe('Its protection was ended then, and its replica kept.'),
        activeSide: activeSide.describe('Where it runs, as far as the store tells.'),
        disks: z.array(disk),
        epoch: z.int(),
        fence: fenceSchema,
        applied: sealedCycle.optional().describe('The newest cycle that the replica holds.'),
        received: z.array(sealedCycle).describe('Complete, and not applied yet.'),
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
  'vault export': z.strictObject({
    vm,
    recoveryPoint: z.string(),
    time: isoTimeSchema.describe('The instant the disks are at.'),
    cyclesAdded: z.int().describe('Received cycles that were added on top of the point.'),
    suspect: z.string().optional().describe('Why it may not be what the guest wrote.'),
    stoppedBy: z.string().optional().describe('What is damaged and left out, though it is newer.'),
    ranFrom: isoTimeSchema
      .optional()
      .describe('The VM runs at the recovery site from the state of then; what was written there is not exported.'),
    folder: z.string(),
    disks: z.array(disk),
  }),
  'vault adopt': z.strictObject({
    vms: z.array(
      z.strictObject({
        vm,
        phase: phase.optional(),
        policyName: z.string().optional().describe('By which it goes on, when the site file has another for it.'),
        resyncCause: z.string().optional().describe('Why it has to be resynchronized.'),
        refusal: z.string().optional().describe('Why it was left alone.'),
      }),
    ),
  }),
  'job list': z.strictObject({ jobs: z.array(jobSchema) }),
  'job show': jobSchema,
  'job cancel': z.strictObject({ jobId }),
} as const satisfies Record<string, z.ZodObject>;
