/** Reads a socket by the number of bytes wanted, copying each byte once, and lets the sender wait meanwhile. */
import type { Socket } from 'node:net';

/** Bytes that may wait unread before the socket is paused. */
const READ_AHEAD = 256 * 1024;

/** The connection ended: between two messages, or in the middle of one. */
export class StreamEnded extends Error {
  override readonly name = 'StreamEnded';
}

interface Wanted {
  readonly target: Buffer;
  filled: number;
  readonly done: (error?: Error) => void;
}

export class SocketReader {
  readonly #chunks: Buffer[] = [];
  /** Bytes of the first chunk that are taken already. */
  #taken = 0;
  #buffered = 0;
  #wanted: Wanted | undefined;
  #ended: Error | undefined;

  constructor(private readonly socket: Socket) {
    socket.on('data', (chunk: Buffer) => this.#arrive(chunk));
    socket.on('error', (error) => this.#end(error));
    socket.on('end', () => this.#end(new StreamEnded('the other end closed the connection')));
    socket.on('close', () => this.#end(new StreamEnded('the connection is closed')));
  }

  /** A buffer of its own with the next bytes. @throws StreamEnded, or the socket's error. */
  async take(length: number): Promise<Buffer> {
    const target = Buffer.allocUnsafe(length);
    await this.fill(target);
    return target;
  }

  /** Fills `target` with the next bytes. One at a time. @throws StreamEnded, or the socket's error. */
  fill(target: Buffer): Promise<void> | void {
    if (this.#wanted) throw new Error('two readers on one socket');
    let filled = 0;
    while (filled < target.length && this.#chunks.length > 0) {
      const chunk = this.#chunks[0]!;
      const copied = chunk.copy(target, filled, this.#taken);
      filled += copied;
      this.#taken += copied;
      this.#buffered -= copied;
      if (this.#taken === chunk.length) {
        this.#chunks.shift();
        this.#taken = 0;
      }
    }
    if (this.#buffered < READ_AHEAD && this.socket.isPaused()) this.socket.resume();
    if (filled === target.length) return;
    if (this.#ended) throw this.#ended;
    return new Promise((resolve, reject) => {
      this.#wanted = { target, filled, done: (error) => (error ? reject(error) : resolve()) };
    });
  }

  #arrive(chunk: Buffer): void {
    const wanted = this.#wanted;
    let used = 0;
    if (wanted) {
      used = chunk.copy(wanted.target, wanted.filled);
      wanted.filled += used;
      if (wanted.filled === wanted.target.length) {
        this.#wanted = undefined;
        wanted.done();
      }
    }
    if (used === chunk.length) return;
    this.#chunks.push(used === 0 ? chunk : chunk.subarray(used));
    this.#buffered += chunk.length - used;
    if (this.#buffered >= READ_AHEAD) this.socket.pause();
  }

  #end(error: Error): void {
    this.#ended ??= error;
    const wanted = this.#wanted;
    this.#wanted = undefined;
    wanted?.done(this.#ended);
  }
}
