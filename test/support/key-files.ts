import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';

/** A key as it stands in a key file. */
export const newKey = (): string => randomBytes(32).toString('base64');

/** Writes a key file as `farshore keys new` does. @param keys by id. */
export async function writeKeyFile(
  file: string,
  current: string,
  keys: Readonly<Record<string, string>>,
): Promise<void> {
  await writeFile(file, JSON.stringify({ current, keys }), { mode: 0o600 });
}
