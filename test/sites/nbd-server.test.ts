import { once } from 'node:events';
import { mkdtemp, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RawDisk } from '../../disks/raw.js';
import { NbdGuest, type NbdError } from '../../sites/nbd/guest.js';
import type { NbdExport } from '../../sites/nbd/nbd-export.js';
import {
  Command,
  NBD_MAGIC,
  OPTION_MAGIC,
  Option,
  OptionReply,
  TransmissionFlag,
  optionRequest,
  parseNbdUri,
  parseReply,
  writeRequest,
} from '../../sites/nbd/nbd-protocol.js';
import { NbdServer } from '../../sites/nbd/nbd-server.js';
import { SocketReader } from '../../sites/nbd/nbd-stream.js';

const MiB = 2 ** 20;
const SIZE = 64 * MiB;
let folder: string;
let socketPath: string;
let disk: RawDisk;
let server: NbdServer;
const unexpected: unknown[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'farshore-nbd-'));
  socketPath = join(folder, 'nbd.sock');
  const path = join(folder, 'disk');
  await writeFile(path, '');
  await truncate(path, SIZE);
  disk = await RawDisk.open(path);
  server = await NbdServer.listen({ socketPath }, { report: (error) => unexpected.push(error) });
  server.addExport('disk', plain());
});
afterEach(async () => {
  await server.close();
  await disk.close();
  await rm(folder, { recursive: true });
  expect(unexpected.splice(0)).toEqual([]);
});

const plain = (): NbdExport => ({
  size: disk.size,
  read: (target, offset) => disk.read(target, offset),
  write: (data, offset) => disk.write(data, offset),
  writeZeroes: (range) => disk.writeZeroes(range),
  flush: () => disk.flush(),
});

/** A disk whose writes wait at a gate before they are made, and that counts them. */
class GatedDisk implements NbdExport {
  readonly size = SIZE;
  inFlight = 0;
  bytesInFlight = 0;
  mostBytes = 0;
  touchedAfterRemoval = false;
  removed = false;
  #open!: () => void;
  readonly #gate = new Promise<void>((resolve) => {
    this.#open = resolve;
  });
  #arrived: (() => void)[] = [];

  open(): void {
    this.#open();
  }
  /** Resolves once so many writes wait at the gate. */
  async arrived(count: number): Promise<void> {
    while (this.inFlight < count) await new Promise<void>((resolve) => this.#arrived.push(resolve));
  }
  read(target: Buffer, offset: number): Promise<void> {
    return disk.read(target, offset);
  }
  async write(data: Buffer, offset: number): Promise<void> {
    this.inFlight += 1;
    this.bytesInFlight += data.length;
    this.mostBytes = Math.max(this.mostBytes, this.bytesInFlight);
    for (const arrived of this.#arrived.splice(0)) arrived();
    await this.#gate;
    await disk.write(data, offset);
    if (this.removed) this.touchedAfterRemoval = true;
    this.inFlight -= 1;
    this.bytesInFlight -= data.length;
  }
  writeZeroes(range: { offset: number; length: number }): Promise<void> {
    return disk.writeZeroes(range);
  }
  flush(): Promise<void> {
    return disk.flush();
  }
}

/** A client that says what it is told to, past the greeting. */
async function rawClient(flags = 3): Promise<{ socket: Socket; reader: SocketReader }> {
  const reader = new SocketReader((onread) => connect({ path: socketPath, onread }));
  const { socket } = reader;
  const greeting = await reader.take(18);
  expect(greeting.readBigUInt64BE(0)).toBe(NBD_MAGIC);
  expect(greeting.readBigUInt64BE(8)).toBe(OPTION_MAGIC);
  const answer = Buffer.alloc(4);
  answer.writeUInt32BE(flags);
  socket.write(answer);
  return { socket, reader };
}

async function inTransmission(): Promise<{ socket: Socket; reader: SocketReader }> {
  const client = await rawClient();
  client.socket.write(optionRequest(Option.EXPORT_NAME, Buffer.from('disk')));
  await client.reader.take(10);
  return client;
}

const closed = (socket: Socket) => (socket.destroyed ? Promise.resolve() : once(socket, 'close'));

test('removing an export during writes: acknowledged writes are stored, refused ones are not, and then nothing more is written', async () => {
  const gated = new GatedDisk();
  server.addExport('vm', gated);
  const guests = await Promise.all([NbdGuest.connect(server.uri('vm')), NbdGuest.connect(server.uri('vm'))]);
  const outcome = new Map<number, string>();
  const write = (index: number) =>
    guests[index % 2]!.write(Buffer.alloc(65536, index + 1), index * 65536).then(
      () => void outcome.set(index, 'acknowledged'),
      (error: NbdError) => void outcome.set(index, error.code),
    );
  const before = [...Array(10).keys()].map(write);
  await gated.arrived(10);
  const removal = server.removeExport('vm');
  const during = [...Array(10).keys()].map((i) => write(i + 10));
  await Promise.all(during);
  expect(outcome.size).toBe(10);
  await expect(NbdGuest.connect(server.uri('vm'))).rejects.toMatchObject({ code: 'EINVAL' });

  gated.open();
  await Promise.all([removal, server.removeExport('vm')]);
  gated.removed = true;
  await Promise.all(before);
  const after = write(20);
  await after;

  for (let index = 0; index <= 20; index += 1) {
    const expected = index < 10 ? 'acknowledged' : index < 20 ? 'ESHUTDOWN' : 'ECONNRESET';
    expect(outcome.get(index), `write ${index}`).toBe(expected);
    const content = Buffer.alloc(65536);
    await disk.read(content, index * 65536);
    expect(content.equals(Buffer.alloc(65536, index < 10 ? index + 1 : 0)), `content ${index}`).toBe(true);
  }
  expect(gated.inFlight).toBe(0);
  expect(gated.touchedAfterRemoval).toBe(false);
  server.addExport('vm', plain());
  await (await NbdGuest.connect(server.uri('vm'))).close();
});

test('removing an export waits for the writes of a guest that has disconnected', async () => {
  const gated = new GatedDisk();
  server.addExport('vm', gated);
  const guest = await NbdGuest.connect(server.uri('vm'));
  const write = guest.write(Buffer.alloc(512, 1), 0);
  await gated.arrived(1);
  guest.cut();
  await expect(write).rejects.toMatchObject({ code: 'ECONNRESET' });
  let removed = false;
  const removal = server.removeExport('vm').then(() => {
    removed = true;
  });
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  expect(removed).toBe(false);
  gated.open();
  await removal;
  expect(gated.inFlight).toBe(0);
});

test('removing an export does not wait for a guest that stops in the middle of a request, or does not read its answers', async () => {
  const { socket, reader } = await inTransmission();
  socket.write(writeRequest({ command: Command.WRITE, flags: 0, cookie: 1n, offset: 0, length: MiB }));
  socket.write(Buffer.alloc(1000, 7));
  const deaf = await inTransmission();
  deaf.socket.pause();
  for (let i = 0; i < 8; i += 1) {
    deaf.socket.write(writeRequest({ command: Command.READ, flags: 0, cookie: 2n, offset: 0, length: 4 * MiB }));
  }
  await server.removeExport('disk');
  await expect(reader.take(16)).rejects.toThrow();
  const content = Buffer.alloc(4096);
  await disk.read(content, 0);
  expect(content.equals(Buffer.alloc(4096))).toBe(true);
  deaf.socket.destroy();
});

test('a guest that sends faster than the disk works is made to wait', async () => {
  const gated = new GatedDisk();
  server.addExport('vm', gated);
  const guest = await NbdGuest.connect(server.uri('vm'));
  const data = Buffer.alloc(MiB, 3);
  const writes = [...Array(64).keys()].map((i) => guest.write(data, i * MiB));
  await gated.arrived(16);
  // Whatever else the server would read, it has the time to.
  for (let turn = 0; turn < 200; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  gated.open();
  await Promise.all(writes);
  expect(gated.mostBytes).toBe(16 * MiB);
  await guest.close();
});

test('a request may be as large as NBD allows, but no larger', async () => {
  const guest = await NbdGuest.connect(server.uri('disk'));
  const data = Buffer.alloc(32 * MiB, 0x42);
  await guest.write(data, 16 * MiB);
  const read = Buffer.alloc(32 * MiB);
  await guest.read(read, 16 * MiB);
  expect(read.equals(data)).toBe(true);
  await expect(guest.read(Buffer.alloc(32 * MiB + 512), 0)).rejects.toThrow(RangeError);
  await guest.close();

  const client = await inTransmission();
  client.socket.write(
    writeRequest({ command: Command.WRITE, flags: 0, cookie: 1n, offset: 0, length: 32 * MiB + 512 }),
  );
  await closed(client.socket);
});

test.for([
  ['a read past the end', { command: Command.READ, offset: SIZE - 512, length: 1024 }, 22],
  ['a write past the end', { command: Command.WRITE, offset: SIZE, length: 512 }, 28],
  ['zeroes past the end', { command: Command.WRITE_ZEROES, offset: SIZE - 512, length: 0xffff_fe00 }, 28],
  ['an offset beyond all disks', { command: Command.READ, offset: Number.MAX_SAFE_INTEGER + 1, length: 512 }, 22],
  ['an unaligned write', { command: Command.WRITE, offset: 100, length: 512 }, 22],
  ['half a sector', { command: Command.READ, offset: 0, length: 256 }, 22],
  ['an unknown command', { command: 99, offset: 0, length: 0 }, 22],
  ['an unknown flag', { command: Command.READ, offset: 0, length: 512, flags: 0x40 }, 22],
  ['nothing at all', { command: Command.READ, offset: 512, length: 0 }, 0],
] as const)('%s is answered, and the connection stays usable', async ([, request, error]) => {
  const { socket, reader } = await inTransmission();
  socket.write(writeRequest({ flags: 0, cookie: 5n, ...request }));
  if (request.command === Command.WRITE) socket.write(Buffer.alloc(request.length, 9));
  expect(parseReply(await reader.take(16))).toEqual({ error, cookie: 5n });
  socket.write(writeRequest({ command: Command.READ, flags: 0, cookie: 6n, offset: 0, length: 512 }));
  expect(parseReply(await reader.take(16))).toEqual({ error: 0, cookie: 6n });
  expect((await reader.take(512)).equals(Buffer.alloc(512))).toBe(true);
  socket.destroy();
});

test('a read-only export is not written', async () => {
  server.addExport('ro', { ...plain(), readOnly: true });
  const guest = await NbdGuest.connect(server.uri('ro'));
  expect(guest.readOnly).toBe(true);
  await expect(guest.write(Buffer.alloc(512), 0)).rejects.toMatchObject({ code: 'EPERM' });
  await expect(guest.trim({ offset: 0, length: 512 })).rejects.toMatchObject({ code: 'EPERM' });
  await guest.read(Buffer.alloc(512), 0);
  await guest.close();
});

test('an old client gets the zeroes that it expects; unknown options are declined; exports are listed', async () => {
  const { socket, reader } = await rawClient(1);
  const structuredReply = 8;
  socket.write(optionRequest(structuredReply, Buffer.alloc(0)));
  expect((await reader.take(20)).readUInt32BE(12)).toBe(OptionReply.ERR_UNSUP);
  socket.write(optionRequest(Option.GO, Buffer.from('bad')));
  expect((await reader.take(20)).readUInt32BE(12)).toBe(OptionReply.ERR_INVALID);
  socket.write(optionRequest(Option.LIST, Buffer.alloc(0)));
  const entry = await reader.take(20);
  expect(entry.readUInt32BE(12)).toBe(OptionReply.SERVER);
  expect((await reader.take(entry.readUInt32BE(16))).toString('utf8', 4)).toBe('disk');
  expect((await reader.take(20)).readUInt32BE(12)).toBe(OptionReply.ACK);
  socket.write(optionRequest(Option.EXPORT_NAME, Buffer.from('disk')));
  const answer = await reader.take(134);
  expect(Number(answer.readBigUInt64BE(0))).toBe(SIZE);
  expect(answer.readUInt16BE(8) & TransmissionFlag.CAN_MULTI_CONN).not.toBe(0);
  expect(answer.subarray(10).equals(Buffer.alloc(124))).toBe(true);
  socket.destroy();
});

test('whatever a client sends affects only its own connection', async () => {
  const guest = await NbdGuest.connect(server.uri('disk'));
  await guest.write(Buffer.alloc(4096, 0xaa), MiB);
  await fc.assert(
    fc.asyncProperty(fc.boolean(), fc.uint8Array({ minLength: 28, maxLength: 300 }), async (negotiated, noise) => {
      const { socket } = negotiated ? await inTransmission() : await rawClient();
      // Noise that happens to begin with the right magic would be a request, and a request may change the disk.
      noise[0] = 0xff;
      socket.write(noise);
      socket.resume();
      await closed(socket);
      const read = Buffer.alloc(4096);
      await guest.read(read, MiB);
      expect(read.equals(Buffer.alloc(4096, 0xaa))).toBe(true);
    }),
    { numRuns: 40 },
  );
  await guest.close();
});

test('only the owner may connect to the socket; a stale socket is replaced, one in use is not', async () => {
  expect((await stat(socketPath)).mode & 0o777).toBe(0o600);
  await expect(NbdServer.listen({ socketPath })).rejects.toMatchObject({ code: 'EADDRINUSE' });
  await (await NbdGuest.connect(server.uri('disk'))).close();

  const left = join(folder, 'left.sock');
  const dead = createServer().listen(join(folder, 'dying.sock'));
  await once(dead, 'listening');
  await rename(join(folder, 'dying.sock'), left);
  await new Promise((resolve) => dead.close(resolve));
  expect((await stat(left)).isSocket()).toBe(true);
  const next = await NbdServer.listen({ socketPath: left });
  await next.close();
});

test('names and paths are unchanged after conversion to a URI and back', async () => {
  const odd = await NbdServer.listen({ socketPath: join(folder, 'a b&c.sock') });
  odd.addExport('größe/1', plain());
  const uri = odd.uri('größe/1');
  expect(parseNbdUri(uri)).toEqual({ address: { socketPath: join(folder, 'a b&c.sock') }, exportName: 'größe/1' });
  await (await NbdGuest.connect(uri)).close();
  await (await NbdGuest.connect(odd.uri('other'), 'größe/1')).close();
  await odd.close();
  expect(parseNbdUri('nbd://[::1]/x')).toEqual({ address: { host: '::1', port: 10809 }, exportName: 'x' });
  expect(() => parseNbdUri('http://x/y')).toThrow(TypeError);
});
