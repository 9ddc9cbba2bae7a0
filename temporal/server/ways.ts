/** One way to get an executable. The first way that yields a path is used. */
export interface Way {
  /** Its name in a list of attempts: `temporal on PATH`. */
  readonly name: string;
  /** What the user can do so that this way works next time. */
  readonly remedy: string;
  /** Returns an absolute path; throws an error that says why there is none. */
  find(): Promise<FoundExecutable>;
}

/** The result of a {@link Way}. */
export interface FoundExecutable {
  readonly path: string;
  /** Where it came from, if not from this way. */
  readonly from?: string;
}

/** The origin of an executable that appeared while this process waited to install it. */
export const INSTALLED_MEANWHILE = 'installed by another process in the meantime';

/** A way that was tried without success. */
interface FailedWay {
  readonly name: string;
  readonly reason: string;
  readonly remedy: string;
}

/** No way worked. The message lists every way, why it failed, and what would make it work. */
export class ProvisioningError extends Error {
  constructor(
    what: string,
    readonly failed: readonly FailedWay[],
  ) {
    const ways = failed.map(
      ({ name, reason, remedy }, index) => `  ${index + 1}. ${name}: ${indent(reason)}\n     → ${remedy}`,
    );
    super(`No ${what} is available. Tried, in this order:\n${ways.join('\n')}`);
    this.name = 'ProvisioningError';
  }
}

/** Tries each way in turn. Throws {@link ProvisioningError} if none works. */
export async function firstWayThatWorks(what: string, ways: readonly Way[]): Promise<Required<FoundExecutable>> {
  const failed: FailedWay[] = [];
  for (const way of ways) {
    try {
      return { from: way.name, ...(await way.find()) };
    } catch (error) {
      // Any failure (no network, a read-only folder, a broken compiler) is a reason to try the next way, and is
      // reported if none works.
      failed.push({ name: way.name, reason: messageOf(error), remedy: way.remedy });
    }
  }
  throw new ProvisioningError(what, failed);
}

/** The message of a caught value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function indent(text: string): string {
  return text.split('\n').join('\n     ');
}
