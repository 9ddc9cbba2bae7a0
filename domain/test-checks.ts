/** The checks that show that the guest of a test VM works, as the site file lists them, and what they found. */
import { z } from 'zod';

/** Seconds. */
const LONGEST_CHECK = 600;
const MOST_CHECKS = 20;

const withinSchema = z
  .string()
  .regex(/^[1-9]\d{0,3}[sm]$/, { error: 'expected a time such as 30s or 5m', abort: true })
  .refine((text) => secondsOf(text) <= LONGEST_CHECK, { error: 'a check may take at most 10m' })
  .default('60s')
  .describe('A check that has not succeeded within this time has failed; until then it is tried again. At most 10m.');

export const testCheckSchema = z
  .strictObject({
    console: z
      .string()
      .min(1)
      .max(500)
      .refine(isPattern, { error: 'not a regular expression' })
      .optional()
      .describe("A regular expression that must match the console of the guest, its first serial port's output."),
    command: z
      .array(z.string().min(1))
      .min(1)
      .max(50)
      .optional()
      .describe(
        'A program with its arguments that must end with exit code 0 in the guest; needs the QEMU guest agent there.',
      ),
    within: withinSchema,
  })
  .refine(({ console, command }) => (console === undefined) !== (command === undefined), {
    error: 'a check has either console or command',
  });
export type TestCheck = z.infer<typeof testCheckSchema>;

export const testChecksSchema = z.array(testCheckSchema).max(MOST_CHECKS);

/** Seconds that a check may take. */
export const limitOf = ({ within }: TestCheck): number => secondsOf(within);

function secondsOf(text: string): number {
  return Number(text.slice(0, -1)) * (text.endsWith('m') ? 60 : 1);
}

function isPattern(text: string): boolean {
  try {
    new RegExp(text, 'm');
    return true;
  } catch {
    return false;
  }
}

/** For display. */
export const checkText = ({ console, command = [] }: TestCheck): string =>
  console === undefined ? command.join(' ') : `console: ${console}`;

export const checkResultSchema = z.object({
  check: z.string(),
  passed: z.boolean(),
  /** How often it was tried. */
  tries: z.int(),
  seconds: z.number(),
  /** Why it has failed. */
  problem: z.string().optional(),
});
export type CheckResult = z.infer<typeof checkResultSchema>;

/** A file that is kept as a proof of what a test VM has shown. */
export const evidenceSchema = z.object({
  /** Its name in the store. */
  name: z.string(),
  bytes: z.int(),
  /** Hex. */
  sha256: z.string(),
});
export type Evidence = z.infer<typeof evidenceSchema>;
