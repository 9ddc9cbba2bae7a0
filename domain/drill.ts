/**
 * A test failover, also called a drill: a test VM made from a recovery point, in a network of its own, while
 * replication continues. It exists beside the VM's other jobs from its request until it has been cleaned up.
 */
import { z } from 'zod';
import { nameSchema } from './ids.js';
import { jobRequestSchema, runningJobSchema } from './running-job.js';
import { checkResultSchema, evidenceSchema } from './test-checks.js';
import { isoTimeSchema } from './time.js';

const SUFFIX = '-test';

/** The name of a VM's test VM, which may be longer than a VM's name can be. */
export const testVmName = (vm: string): string => `${vm}${SUFFIX}`;

/** Why a VM cannot have a test VM; undefined if it can. */
export function testNameProblem(vm: string): string | undefined {
  if (nameSchema.safeParse(testVmName(vm)).success) return undefined;
  return `its test VM would be named ${testVmName(vm)}, but VM names have at most 63 characters`;
}

/** What a test failover has made and found, as far as it has come. */
export const testedSchema = z.object({
  testVm: z.string(),
  /** Absent until it is chosen and held. */
  recoveryPoint: z.object({ id: z.string(), time: isoTimeSchema }).optional(),
  /** The network of the test VM, which no other VM is connected to. */
  network: z.string(),
  /** Whether its guest has booted; absent while it was not started. */
  booted: z.boolean().optional(),
  /** Whether it has booted and passed every check; absent while it was not checked. */
  passed: z.boolean().optional(),
  /** Why it has not passed. */
  problem: z.string().optional(),
});
export type Tested = z.infer<typeof testedSchema>;

export const drillSchema = z.object({
  testVm: z.string(),
  /** When the test failover began. */
  since: isoTimeSchema.optional(),
  /** A job of the drill that is about to begin. */
  requested: jobRequestSchema.optional(),
  /** The running job of the drill. */
  job: runningJobSchema.optional(),
  tested: testedSchema.optional(),
  /** Why the operator started it. */
  reason: z.string().optional(),
  /** Why the test failover ended early. */
  problem: z.string().optional(),
  /** When it is cleaned up automatically; set as soon as the test failover has ended. */
  cleanUpAt: isoTimeSchema.optional(),
});
export type Drill = z.infer<typeof drillSchema>;

export const lastDrillSchema = z.object({
  /** When it began. */
  at: isoTimeSchema,
  recoveryPoint: z.object({ id: z.string(), time: isoTimeSchema }).optional(),
  outcome: z.enum(['passed', 'notPassed']),
  /** Why it has not passed. */
  reason: z.string().optional(),
  /** The operator's notes on it. */
  notes: z.string().optional(),
});
export type LastDrill = z.infer<typeof lastDrillSchema>;

/** The result of the job "Test failover". */
export const testFailoverResultSchema = testedSchema.extend({
  recoveryPoint: z.object({ id: z.string(), time: isoTimeSchema }),
  booted: z.boolean(),
  passed: z.boolean(),
  /** When the test VM was running. */
  startedAt: isoTimeSchema,
  checks: z.array(checkResultSchema),
  /** What is kept in the store of the guest's console and screen. */
  evidence: z.array(evidenceSchema),
  /** Time from the beginning of the job until the test VM was running. */
  seconds: z.number(),
});
export type TestFailoverResult = z.infer<typeof testFailoverResultSchema>;

/** For display. */
export function drillText(drill: Drill): string {
  const { testVm, since, job, requested, tested, problem, cleanUpAt } = drill;
  const from = tested?.recoveryPoint;
  const point = from ? `, from recovery point ${from.id} of ${from.time}` : '';
  const begun = since === undefined ? '' : `, since ${since}`;
  if (job || requested) return `${testVm}${point}${begun}; its job ${(job ?? requested)!.jobId} is running`;
  const state = problem === undefined ? bootedText(tested) : `ended early: ${problem}`;
  const until = cleanUpAt === undefined ? '' : `; cleaned up automatically at ${cleanUpAt}`;
  return `${testVm}${point}${begun}; ${state}${until}`;
}

function bootedText(tested: Tested | undefined): string {
  if (!tested?.booted) return `not booted${tested?.problem === undefined ? '' : `: ${tested.problem}`}`;
  if (tested.passed === false) return `booted, but not passed: ${tested.problem ?? 'a check failed'}`;
  return 'booted';
}

/** For display. */
export function lastDrillText({ at, recoveryPoint, outcome, reason, notes }: LastDrill): string {
  const point = recoveryPoint ? `, recovery point ${recoveryPoint.id} of ${recoveryPoint.time}` : '';
  const result = outcome === 'passed' ? 'passed' : `not passed${reason === undefined ? '' : `: ${reason}`}`;
  return `${at}${point}: ${result}${notes === undefined ? '' : ` (${notes})`}`;
}
