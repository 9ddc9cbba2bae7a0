/**
 * Reads a socket in pieces of the requested length, and makes the sender wait meanwhile. Data goes into reused buffers
 * or, for large requests, directly to its destination. Node's usual new buffer for each arriving piece keeps the
 * garbage collector busier than the disks.
 */
import type { OnReadOpts, Socket } from 'node:net';

/** Limit of unread bytes before the socket is paused, and of bytes read in one call. */
const READ_AHEAD = 256 * 1024;
/** Limit of unread pieces, because a small piece occupies a whole buffer. */
const MAX_PIECES = 4;
/** If at least this many bytes are still wanted, they are read directly to their destination. */
const DIRECT = 64 * 1024;

/** The connection ended between two messages, or in the middle of one. */
export class StreamEnded extends Error {
  override readonly name = 'StreamEnded';
}

interface Wanted {
  readonly target: Buffer;
  filled: number;
  readonly done: (error?: Error) => void;
}

/** Data that has arrived and was not taken yet. */
interface Piece {
  readonly memory: Buffer;
  start: number;
  readonly stop: number;
}

export class SocketReader {
  readonly #pieces: Piece[] = [];
  #buffered = 0;
  readonly #free: Buffer[] = [];
  /** Whether the system is reading directly to the destination. */
  #direct = false;
  #wanted: Wanted | undefined;
  #ended: Error | undefined;
  readonly #socket: Socket;
  #paused = false;

  /** @param connect creates the socket with these options for reading. */
  constructor(connect: (onread: OnReadOpts) => Socket) {
    this.#socket = connect({
      buffer: () => this.#next(),
      callback: (bytes, memory) => this.#arrive(bytes, memory as Buffer),
    });
    this.#socket.on('error', (error) => this.#end(error));
    this.#socket.on('end', () => this.#end(new StreamEnded('the other end closed the connection')));
    this.#socket.on('close', () => this.#end(new StreamEnded('the connection is closed')));
  }

  get socket(): Socket {
    return this.#socket;
  }

  /** A new buffer with the next bytes. @throws StreamEnded, or the socket's error. */
  async take(length: number): Promise<Buffer> {
    const target = Buffer.allocUnsafe(length);
    await this.fill(target);
    return target;
  }

  /**
   * Fills `target` with the next bytes; it must not be used until they have arrived or the stream has ended. One call
   * at a time. @throws StreamEnded, or the socket's error.
   */
  fill(target: Buffer): Promise<void> | void {
    if (this.#wanted) throw new Error('two readers on one socket');
    let filled = 0;
    for (let piece = this.#pieces[0]; piece && filled < target.length; piece = this.#pieces[0]) {
      filled += this.#takeFrom(piece, target, filled);
      if (piece.start < piece.stop) break;
      this.#pieces.shift();
      this.#free.push(piece.memory);
    }
    if (this.#paused && !this.#isFull()) {
      this.#paused = false;
      this.#socket.resume();
    }
    if (filled === target.length) return;
    if (this.#ended) throw this.#ended;
    return new Promise((resolve, reject) => {
      this.#wanted = { target, filled, done: (error) => (error ? reject(error) : resolve()) };
    });
  }

  #takeFrom(piece: Piece, target: Buffer, at: number): number {
    const copied = piece.memory.copy(target, at, piece.start, piece.stop);
    piece.start += copied;
    this.#buffered -= copied;
    return copied;
  }

  #isFull(): boolean {
    return this.#buffered >= READ_AHEAD || this.#pieces.length >= MAX_PIECES;
  }

  /** The buffer for the next data; called after each arrival. */
  #next(): Buffer {
    const wanted = this.#wanted;
    this.#direct = wanted !== undefined && wanted.target.length - wanted.filled >= DIRECT;
    if (wanted && this.#direct) return wanted.target.subarray(wanted.filled);
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(READ_AHEAD);
  }

  /** @returns false to pause. */
  #arrive(bytes: number, memory: Buffer): boolean {
    const wanted = this.#wanted;
    if (this.#direct) {
      // Undefined if the stream has ended meanwhile.
      if (wanted) wanted.filled += bytes;
    } else {
      const piece = { memory, start: 0, stop: bytes };
      this.#buffered += bytes;
      if (wanted) wanted.filled += this.#takeFrom(piece, wanted.target, wanted.filled);
      if (piece.start < piece.stop) this.#pieces.push(piece);
      else this.#free.push(memory);
    }
    if (wanted && wanted.filled === wanted.target.length) {
      this.#wanted = undefined;
      wanted.done();
    }
    this.#paused = this.#isFull();
    return !this.#paused;
  }

  #end(error: Error): void {
    this.#ended ??= error;
    const wanted = this.#wanted;
    this.#wanted = undefined;
    wanted?.done(this.#ended);
  }
}
