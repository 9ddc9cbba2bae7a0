/** What of a VM in a store is damaged on purpose, told by its name: a recovery point's record, or a cycle's manifest. */
const isRecord = (name: string): boolean => /\/points\/[^/]*\.json$|\/manifest[^/]*\.json$/.test(name);

/** @param names of everything below the VM. @param chance in [0, 1). @returns undefined when there is no such record. */
export function chooseRecord(names: readonly string[], chance: () => number): string | undefined {
  const records = names.filter(isRecord).toSorted();
  return records[Math.floor(chance() * records.length)];
}

/** @returns how much of so many bytes is left, bytes. */
export const cutShort = (bytes: number, chance: () => number): number => Math.floor(chance() * bytes);
