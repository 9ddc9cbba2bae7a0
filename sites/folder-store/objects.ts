/** Objects: files that are written elsewhere and moved to their names as a whole; and the fences of the store. */
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { writeAt } from '../../disks/positional-io.js';
import type { Fence } from '../../domain/fence.js';
import { checkName, checkScope } from '../blob-names.js';
import type { ListedObject, Objects, ReadBackOptions, WriteFence } from '../../ports/objects.js';
import type { DurableFiles, Temporary } from './files.js';
import { unlessMissing } from './folder-errors.js';
import { collectNames } from './listing.js';
import { readObjectFile } from './object-reads.js';
import type { StoreCalls } from './store-calls.js';

/** Bytes. */
const LARGEST_RECORD = 64 * 1024;
/** Milliseconds: the name of a file that changed this recently may not be durable yet. */
const RECENT = 60_000;

export class FolderObjects implements Objects {
  constructor(private readonly calls: StoreCalls) {}

  async put(name: string, data: Buffer, fence: WriteFence): Promise<void> {
    await this.#write(name, fence, data, async (files, file, target) => await files.publish(file, target));
  }

  async putIfAbsent(name: string, data: Buffer, fence: WriteFence): Promise<boolean> {
    return await this.#write(
      name,
      fence,
      data,
      async (files, file, target) => await files.publishIfAbsent(file, target),
    );
  }

  async upload(name: string, chunks: AsyncIterable<Buffer>, fence: WriteFence): Promise<void> {
    await this.#write(name, fence, chunks, async (files, file, target) => await files.publish(file, target));
  }

  async get(name: string): Promise<Buffer | undefined> {
    const { layout, files, marker } = this.calls;
    return await this.calls.do(`reading ${name}`, async () => {
      const file = layout.file(checkName(name));
      const data = await unlessMissing(readFile(file), undefined);
      if (data === undefined) await marker.check();
      else if (Date.now() - (await stat(file)).ctimeMs < RECENT) await files.syncFolders(path.dirname(file));
      return data;
    });
  }

  async read(name: string, offset: number, length: number): Promise<Buffer> {
    const target = Buffer.allocUnsafe(length);
    await this.readInto(name, offset, target);
    return target;
  }

  async readInto(name: string, offset: number, target: Buffer, how?: ReadBackOptions): Promise<void> {
    const read = () => readObjectFile(this.calls.layout.file(checkName(name)), offset, target, how);
    await this.calls.do(`reading ${name}`, read);
  }

  async list(prefix: string): Promise<string[]> {
    return await this.calls.do(`listing ${prefix}`, async () => {
      const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1);
      if (folder !== '') checkName(folder.slice(0, -1));
      const found: string[] = [];
      await collectNames(this.calls.layout, folder, prefix, found);
      if (found.length === 0) await this.calls.marker.check();
      return found.sort();
    });
  }

  async listSizes(prefix: string): Promise<ListedObject[]> {
    const found = await this.list(prefix);
    return await this.calls.do(`listing ${prefix}`, async () => {
      const listed: ListedObject[] = [];
      for (const name of found) {
        const file = await unlessMissing(stat(this.calls.layout.file(name)), undefined);
        if (file) listed.push({ name, bytes: file.size, writtenAt: file.mtime.toISOString() });
      }
      return listed;
    });
  }

  async delete(name: string, fence: WriteFence): Promise<void> {
    const { layout } = this.calls;
    await this.calls.fenced(`deleting ${name}`, name, fence, async ({ files }) => {
      await this.calls.refusePageBlob(name);
      await files.remove(layout.file(name), layout.file(checkScope(fence.scope)));
    });
  }

  async raiseFence(fence: WriteFence): Promise<void> {
    const { fences, reserve } = this.calls;
    await this.calls.do(`fencing ${fence.scope}`, async () => {
      await reserve.fill();
      await reserve.spend('fence', async () => await fences.raise(fence));
    });
  }

  async readFence(scope: string): Promise<Fence> {
    return await this.calls.do(`reading the fence of ${scope}`, async () => {
      const fence = await this.calls.fences.read(checkScope(scope));
      await this.calls.marker.check();
      return fence;
    });
  }

  async #write<T>(
    name: string,
    fence: WriteFence,
    content: Buffer | AsyncIterable<Buffer>,
    publish: (files: DurableFiles, file: Temporary, target: string) => Promise<T>,
  ): Promise<T> {
    const { layout, fences, reserve } = this.calls;
    const put = async () => {
      checkName(name);
      // An early check of the fence that avoids useless work; it is checked again under the lock.
      const access = await fences.access(name, fence);
      const { files } = access;
      const write = async (file: Temporary) => {
        let length = 0;
        for await (const chunk of Buffer.isBuffer(content) ? [content] : content) {
          await writeAt(file.handle, chunk, length);
          length += chunk.length;
        }
        await file.handle.sync();
        const finish = async () => {
          await this.calls.refusePageBlob(name);
          return await publish(files, file, layout.file(name));
        };
        return await fences.write(name, fence, finish, access);
      };
      return await access.unlessShutOut(async () => await files.withTemporaryFile(write));
    };
    const isRecord = Buffer.isBuffer(content) && content.length <= LARGEST_RECORD;
    return await this.calls.do(`writing ${name}`, isRecord ? async () => await reserve.spend('record', put) : put);
  }
}
