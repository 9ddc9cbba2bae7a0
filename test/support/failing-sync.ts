/**
 * Syncs that fail as they do on a real system: what was written since the last good sync is taken for stored from then
 * on and never is, unless it is written again, though everybody reads it until the machine is lost. After a failed sync
 * writes fail too, as long as the fault lasts: a process can't take back what it has written.
 */
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { open, writeFile, type FileHandle } from 'node:fs/promises';
import { onTestFinished } from 'vitest';

interface Watched {
  readonly stored: Buffer;
  unsynced: { readonly position: number; readonly data: Buffer }[];
  failed: boolean;
}

export interface FailingSync {
  /** From now on syncs of these files fail, until told otherwise, or the next one only. */
  fail: boolean | 'once';
  /** Leaves in the files what a machine that is lost at this moment leaves. */
  loseMachine(): Promise<void>;
}

/** Watches files of this process, which must not change their sizes, until the running test ends. */
export async function failingSync(...paths: string[]): Promise<FailingSync> {
  const watched = new Map<string, Watched>(
    paths.map((path) => [path, { stored: readFileSync(path), unsynced: [], failed: false }]),
  );
  const any = await open('/dev/null');
  const prototype = Object.getPrototypeOf(any) as FileHandle;
  await any.close();
  const { write, datasync } = prototype;
  const fileOf = ({ fd }: FileHandle) => watched.get(readlinkSync(`/proc/self/fd/${fd}`));
  onTestFinished(() => void Object.assign(prototype, { write, datasync }));

  const control: FailingSync = {
    fail: false,
    loseMachine: async () => {
      for (const [path, { stored }] of watched) if (existsSync(path)) await writeFile(path, stored);
    },
  };
  const watchedWrite = async function (this: FileHandle, data: Buffer, from: number, length: number, position: number) {
    const file = fileOf(this);
    if (file?.failed && control.fail) throw ioError('write');
    file?.unsynced.push({ position, data: Buffer.from(data.subarray(from, from + length)) });
    return await (write as (...all: unknown[]) => Promise<unknown>).call(this, data, from, length, position);
  };
  const watchedSync = async function (this: FileHandle) {
    const file = fileOf(this);
    const written = file?.unsynced ?? [];
    if (file) file.unsynced = [];
    if (file && control.fail) {
      file.failed = true;
      if (control.fail === 'once') control.fail = false;
      throw ioError('fdatasync');
    }
    await datasync.call(this);
    for (const { position, data } of written) data.copy(file!.stored, position);
  };
  Object.assign(prototype, { write: watchedWrite, datasync: watchedSync });
  return control;
}

const ioError = (syscall: string): NodeJS.ErrnoException =>
  Object.assign(new Error(`EIO: i/o error, ${syscall}`), { code: 'EIO', syscall });
