/** What the guest tells on its console. */

/** The number of the newest transaction, by name of the disk. */
type Transactions<Disk extends string> = Readonly<Record<Disk, number>>;

/** What the disks held at each boot. */
export const bootedTransactions = <Disk extends string = 'os' | 'data'>(console: string): Transactions<Disk>[] =>
  transactionsIn(console, /guest: \/(\w+) holds (\d+) transactions, in order/g);

/** What each disk held when the guest had shut down, for each time. */
export const leftTransactions = <Disk extends string = 'os' | 'data'>(console: string): Transactions<Disk>[] =>
  transactionsIn(console, /guest: \/(\w+) is left with (\d+) transactions/g);

/** How often the guest has booted so far that it works. */
export const timesReady = (console: string): number => console.split('guest: ready').length - 1;

/** How often the guest has shut down. */
export const timesEnded = (console: string): number => console.split('guest: shut down').length - 1;

function transactionsIn<Disk extends string>(console: string, told: RegExp): Transactions<Disk>[] {
  const found: Record<string, number>[] = [];
  for (const [, disk, count] of console.matchAll(told)) {
    // The disks are told in the same order each time.
    if (found.length === 0 || disk! in found.at(-1)!) found.push({});
    found.at(-1)![disk!] = Number(count);
  }
  return found as Transactions<Disk>[];
}
