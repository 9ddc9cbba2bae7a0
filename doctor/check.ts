/** The frame of `farshore doctor`: independent checks, each with a time limit. */
import { setTimeout as sleep } from 'node:timers/promises';
import { TemporalProblem } from '../temporal/problem.js';

/** `skipped`: it could not be checked from here, as the message explains; it does not affect the exit code. */
export type CheckStatus = 'ok' | 'warning' | 'problem' | 'skipped';

export interface Finding {
  readonly status: CheckStatus;
  /** The observation, as a sentence without a full stop. */
  readonly message: string;
  /** Several lines if there are several ways. */
  readonly remedy?: string;
  /** Where the checked object is configured. */
  readonly configuredBy?: string;
  /** The VMs that it concerns. */
  readonly vms?: readonly string[];
  /** Set if it concerns a whole host. */
  readonly host?: string;
}

export interface CheckResult extends Finding {
  readonly check: string;
}

export interface Check {
  readonly name: string;
  /** An error thrown here also counts as a problem. */
  run(): Promise<Finding | readonly Finding[]>;
}

export const ok = (message: string, configuredBy?: string): Finding => ({
  status: 'ok',
  message,
  ...(configuredBy !== undefined && { configuredBy }),
});
export const skipped = (message: string): Finding => ({ status: 'skipped', message });
export const warning = (message: string, remedy: string, configuredBy?: string): Finding => ({
  status: 'warning',
  message,
  remedy,
  ...(configuredBy !== undefined && { configuredBy }),
});
export const problem = (message: string, remedy: string, configuredBy?: string): Finding => ({
  ...warning(message, remedy, configuredBy),
  status: 'problem',
});

/**
 * Runs all checks in parallel. @param limitMs for each. @returns at least one result for each check, in their order.
 */
export async function runChecks(checks: readonly Check[], limitMs: number): Promise<CheckResult[]> {
  const found = await Promise.all(
    checks.map(async (check) => {
      const findings = await limited(check, limitMs).catch((error: unknown) => [problemOf(error)]);
      return findings.map((finding) => ({ check: check.name, ...finding }));
    }),
  );
  return found.flat();
}

async function limited(check: Check, limitMs: number): Promise<readonly Finding[]> {
  const done = new AbortController();
  const late = sleep(limitMs, undefined, { signal: done.signal }).then(() =>
    problem(`timed out after ${limitMs / 1000} s`, 'find out why it does not answer, then run `farshore doctor` again'),
  );
  // The timer is aborted once there is an answer.
  late.catch(() => undefined);
  try {
    return [await Promise.race([check.run(), late])].flat();
  } finally {
    done.abort();
  }
}

function problemOf(error: unknown): Finding {
  if (error instanceof TemporalProblem) return problem(error.problem, error.remedy, error.configuredBy);
  const message = error instanceof Error ? error.message : String(error);
  return problem(message, 'correct the setting named in the message');
}
