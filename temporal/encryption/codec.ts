/**
 * Encrypts data on its way to Temporal, and decrypts it on its way back. Each payload is encrypted as a whole,
 * including its metadata, with AES-256-GCM. Only the fact that it is encrypted and the id of the key are readable.
 *
 * Data: salt (16 bytes), nonce (12), ciphertext, tag (16). Each payload has a separate key, derived from the site's key
 * with the salt: random nonces are safe for only 2^32 uses of a key, and a site with many VMs reaches that.
 *
 * Also authenticated: this format and the key's id. Not the workflow of a payload: the server moves payloads between
 * workflows (from one run to the next, from a child to its parent), and the Web UI does not say to which workflow the
 * payloads belong that it decodes.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes, type KeyObject } from 'node:crypto';
import type { Payload, PayloadCodec } from '@temporalio/common';
import proto from '@temporalio/proto';
import { EncryptionError } from './errors.js';
import { KEY_FILE_VARIABLE } from './key-file.js';
import type { Key, KeyRing } from './key-ring.js';

const { Payload: PayloadMessage } = proto.temporal.api.common.v1;

/** Keys and values of the payload's metadata. */
export const ENCRYPTED = 'binary/encrypted';
export const KEY_ID = 'encryption-key-id';

const CIPHER = 'aes-256-gcm';
const FORMAT = 'farshore payload 1';
const KEY_BYTES = 32;
const SALT_BYTES = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Payloads from before encryption was turned on are returned unchanged. */
export class EncryptionCodec implements PayloadCodec {
  /** @param keys without them, nothing is encrypted, and encrypted payloads are refused with the id of their key. */
  constructor(private readonly keys: KeyRing | undefined) {}

  encode(payloads: Payload[]): Promise<Payload[]> {
    const key = this.keys?.current;
    return Promise.resolve(key ? payloads.map((payload) => encrypt(payload, key)) : payloads);
  }

  /** @throws EncryptionError; DocumentError if an id is unknown and the key file is invalid. */
  async decode(payloads: Payload[]): Promise<Payload[]> {
    return Promise.all(
      payloads.map(async (payload) => (isEncrypted(payload) ? await this.#decrypt(payload) : payload)),
    );
  }

  async #decrypt({ metadata, data }: Payload): Promise<Payload> {
    const id = textOf(metadata?.[KEY_ID]);
    const secret = await this.keys?.find(id);
    if (!secret) throw new EncryptionError(withoutKey(id, this.keys));
    try {
      return PayloadMessage.decode(open(Buffer.from(data ?? []), { id, secret }));
    } catch (error) {
      throw new EncryptionError(
        `A payload in Temporal cannot be decrypted with key ${id} of ${this.keys!.file}: the key was changed, or the payload ` +
          'was encrypted with another key of the same id. Restore the key from a copy of the file.',
        { cause: error },
      );
    }
  }
}

export const isEncrypted = ({ metadata }: Payload): boolean => textOf(metadata?.['encoding']) === ENCRYPTED;

const withoutKey = (id: string, keys: KeyRing | undefined): string => {
  const what = `The data in Temporal is encrypted with key ${id}`;
  return keys
    ? `${what}, which ${keys.file} does not have; it has: ${keys.ids.join(', ')}. Add the key on every machine with a worker or a client.`
    : `${what}, but no keys are configured here. Set ${KEY_FILE_VARIABLE} to the site's key file.`;
};

function encrypt(payload: Payload, key: Key): Payload {
  const salt = randomBytes(SALT_BYTES);
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, derived(key, salt), nonce);
  cipher.setAAD(beside(key.id));
  const sealed = cipher.update(PayloadMessage.encode(payload).finish());
  return {
    metadata: { encoding: Buffer.from(ENCRYPTED), [KEY_ID]: Buffer.from(key.id) },
    data: Buffer.concat([salt, nonce, sealed, cipher.final(), cipher.getAuthTag()]),
  };
}

/** @throws if a single bit has changed. */
function open(data: Buffer, key: Key): Buffer {
  if (data.length < SALT_BYTES + NONCE_BYTES + TAG_BYTES) throw new Error(`${data.length} bytes are too few`);
  const salt = data.subarray(0, SALT_BYTES);
  const nonce = data.subarray(SALT_BYTES, SALT_BYTES + NONCE_BYTES);
  const decipher = createDecipheriv(CIPHER, derived(key, salt), nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(beside(key.id));
  decipher.setAuthTag(data.subarray(-TAG_BYTES));
  const sealed = data.subarray(SALT_BYTES + NONCE_BYTES, -TAG_BYTES);
  return Buffer.concat([decipher.update(sealed), decipher.final()]);
}

const derived = ({ secret, id }: { secret: KeyObject; id: string }, salt: Buffer): Buffer =>
  Buffer.from(hkdfSync('sha256', secret, salt, beside(id), KEY_BYTES));

/** The separator is safe, because an id has no zero byte. */
const beside = (id: string): Buffer => Buffer.from(`${FORMAT}\0${id}`);

const textOf = (bytes: Uint8Array | null | undefined): string => Buffer.from(bytes ?? []).toString('utf8');
