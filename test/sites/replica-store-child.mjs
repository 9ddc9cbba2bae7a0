/**
 * A process that uses a replica store at its parent's command, so that it can be killed.
 * Arguments: the folder of the compiled product, the address of the store as JSON.
 */
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

const [built, address] = process.argv.slice(2);
const load = (file) => import(pathToFileURL(`${built}/${file}`).href);
const { openReplicaStore } = await load('local/open-replica-store.js');
const { ScopeFences } = await load('sites/folder-store/fence-file.js');
const { DurableFiles } = await load('sites/folder-store/files.js');
const { StoreLayout } = await load('sites/folder-store/names.js');

const store = await openReplicaStore(JSON.parse(address));
let release = () => {};

const commands = {
  /** Has the process stop itself right before the n-th of these calls, counted from 1. */
  stopBefore(calls, n) {
    stop = { calls, after: n - 1 };
  },
  /** An upload that goes on until it is told to end. */
  async uploadUntilReleased(name, fence) {
    const released = new Promise((resolve) => (release = resolve));
    async function* chunks() {
      yield Buffer.alloc(100_000, 1);
      process.send({ reached: true });
      await released;
      yield Buffer.alloc(100_000, 2);
    }
    await store.objects.upload(name, chunks(), fence);
  },
  async writeDisk(disk, writes, fence) {
    await (await store.disks.open(disk, fence)).write(writes);
  },
  async readPages(name, offset, length, snapshot) {
    const target = Buffer.alloc(length);
    await store.pageBlobs.readInto(name, offset, target, { snapshot });
    return target;
  },
  /** Stops between the check of the fence and the write it allows; of a store in a folder. */
  async writeWhenReleased(name, data, fence) {
    const { path: folder } = JSON.parse(address);
    const layout = new StoreLayout(folder);
    const files = new DurableFiles(folder, layout.temporaryFolder());
    const released = new Promise((resolve) => (release = resolve));
    const fences = new ScopeFences(layout, files, async () => {}, { write: 60_000, raise: 60_000 });
    await fences.write(name, fence, async (access) => {
      process.send({ reached: true });
      await released;
      await sleep(20);
      await access.files.replace(layout.file(name), Buffer.from(data));
    });
  },
};

/** Which calls count for `stopBefore`, and how many more of them are let pass. */
let stop = { calls: [], after: Infinity };
const counted = (name, call) =>
  function (...args) {
    if (stop.calls.includes(name) && (stop.after -= 1) < 0) {
      stop.after = Infinity;
      // All of the process, in the middle of what it does; whoever continues it has it go on with this very call.
      process.kill(process.pid, 'SIGSTOP');
    }
    return call.apply(this, args);
  };
const handle = await fs.open('/dev/null');
const prototype = Object.getPrototypeOf(handle);
await handle.close();
for (const name of ['read', 'write', 'truncate', 'datasync']) prototype[name] = counted(name, prototype[name]);
for (const name of ['link', 'mkdir', 'rename', 'rm', 'rmdir', 'unlink']) fs[name] = counted(name, fs[name]);
syncBuiltinESMExports();

const answer = async ({ id, method, parameters }) => {
  if (method === 'release') return release();
  const call = commands[method] ?? callOf(method);
  try {
    process.send({ id, result: await call(...parameters.map(asBuffers)) });
  } catch (error) {
    process.send({
      id,
      error: { code: error.code, message: error.detail ?? String(error.message), stack: error.stack },
    });
  }
};
process.on('message', (message) => void answer(message));
process.on('disconnect', () => process.exit());
process.send({ ready: true });

/** `<part of the store>.<operation>`. */
function callOf(method) {
  const [part, operation] = method.split('.');
  return store[part][operation].bind(store[part]);
}

/** What arrives over the channel as a Uint8Array was a Buffer. */
function asBuffers(value) {
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (Array.isArray(value)) return value.map(asBuffers);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, asBuffers(inner)]));
}
