/**
 * A process that uses a replica store at its parent's command, so that it can be killed.
 * Arguments: the folder of the compiled product, the address of the store as JSON.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

const [built, address] = process.argv.slice(2);
const load = (file) => import(pathToFileURL(`${built}/${file}`).href);
const { openReplicaStore } = await load('workers/replica-store.js');
const { ScopeFences } = await load('sites/embedded/replica-store-fence.js');
const { DurableFiles } = await load('sites/embedded/replica-store-files.js');
const { StoreLayout } = await load('sites/embedded/replica-store-names.js');

const store = await openReplicaStore(JSON.parse(address));
let release = () => {};

const commands = {
  /** An upload that goes on until it is told to end. */
  async uploadUntilReleased(name, fence) {
    const released = new Promise((resolve) => (release = resolve));
    async function* chunks() {
      yield Buffer.alloc(100_000, 1);
      process.send({ reached: true });
      await released;
      yield Buffer.alloc(100_000, 2);
    }
    await store.uploadObject(name, chunks(), fence);
  },
  /** Stops between the check of the fence and the write it allows; of a store in a folder. */
  async writeWhenReleased(name, data, fence) {
    const { path: folder } = JSON.parse(address);
    const layout = new StoreLayout(folder);
    const files = new DurableFiles(folder, layout.temporaryFolder());
    const released = new Promise((resolve) => (release = resolve));
    await new ScopeFences(layout, files, async () => {}).write(name, fence, async () => {
      process.send({ reached: true });
      await released;
      await sleep(20);
      await files.replace(layout.file(name), Buffer.from(data));
    });
  },
};

const answer = async ({ id, method, parameters }) => {
  if (method === 'release') return release();
  const call = commands[method] ?? store[method].bind(store);
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

/** What arrives over the channel as a Uint8Array was a Buffer. */
function asBuffers(value) {
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (Array.isArray(value)) return value.map(asBuffers);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, asBuffers(inner)]));
}
