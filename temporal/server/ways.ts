/** One way to get an executable. The first way that yields a path wins. */
export interface Way {
  /** As it reads in a list of what was tried: `temporal on PATH`. */
  readonly name: string;
  /** What a person can do so that this way works the next time. */
  readonly remedy: string;
  /** Yields an absolute path; throws an error whose message says why there is none. */
  find(): Promise<FoundExecutable>;
}

/** What a {@link Way} yields. */
export interface FoundExecutable {
  readonly path: string;
  /** Where it came from, if not by the way that was asked. */
  readonly from?: string;
}

/** Where an executable came from that appeared while this process waited to install it. */
export const INSTALLED_MEANWHILE = 'installed by another process in the meantime';

/** A way that was tried and yielded nothing. */
interface FailedWay {
  readonly name: string;
  readonly reason: string;
  readonly remedy: string;
}

/** Nothing worked. The message lists every way tried, why it failed, and what would make it work. */
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
      // Whatever went wrong (no network, a read-only folder, a broken compiler) is a reason to try the next way, and
      // is reported in full if there is none.
      failed.push({ name: way.name, reason: messageOf(error), remedy: way.remedy });
    }
  }
  throw new ProvisioningError(what, failed);
}

/** What a caught value has to say. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function indent(text: string): string {
  return text.split('\n').join('\n     ');
}
