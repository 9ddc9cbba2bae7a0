/** Which VMs were made to need a resynchronization, and by what: any other mark is a fault of the product. */

/** A fault may show this much later, when what it damaged is read, ms. */
const SHOWS_WITHIN_MS = 5 * 60_000;

export class ExpectedMarks {
  readonly #expected: { readonly vm: string; readonly cause: RegExp; readonly at: number }[] = [];
  readonly #judged = new Set<string>();

  expect(vm: string, cause: RegExp): void {
    this.#expected.push({ vm, cause, at: Date.now() });
  }

  /** @returns false for a mark that no fault explains; each is judged once. */
  isExplained(vm: string, { cause, since }: { readonly cause: string; readonly since: string }): boolean {
    const mark = `${vm} ${since}`;
    if (this.#judged.has(mark)) return true;
    this.#judged.add(mark);
    const earliest = Date.now() - SHOWS_WITHIN_MS;
    return this.#expected.some((fault) => fault.vm === vm && fault.at > earliest && fault.cause.test(cause));
  }
}
