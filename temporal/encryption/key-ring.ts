/** The keys of the key file. It is read again when an unknown id is met, so that an added key requires no restart. */
import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import { readKeyFile, type EncryptionKeys } from './key-file.js';

/** Hexadecimal digits: enough to distinguish keys, too few to reveal anything about them. */
const FINGERPRINT = 8;

export interface Key {
  readonly id: string;
  readonly secret: KeyObject;
}

export class KeyRing {
  private constructor(
    readonly file: string,
    private keys: ReadonlyMap<string, KeyObject>,
    private currentId: string,
  ) {}

  /** @throws DocumentError as `readKeyFile` does. */
  static async open(file: string): Promise<KeyRing> {
    const read = await readKeyFile(file);
    return new KeyRing(file, secretsOf(read), read.current);
  }

  /** The key that encrypts. */
  get current(): Key {
    return { id: this.currentId, secret: this.keys.get(this.currentId)! };
  }

  get ids(): readonly string[] {
    return [...this.keys.keys()];
  }

  /**
   * Identifies a key to those who have it, and reveals nothing to others: `<id>/<fingerprint>`. Undefined for an
   * unknown key.
   */
  label(id: string): string | undefined {
    const secret = this.keys.get(id);
    if (!secret) return undefined;
    const fingerprint = createHmac('sha256', secret).update('farshore key').digest('hex').slice(0, FINGERPRINT);
    return `${id}/${fingerprint}`;
  }

  /**
   * @returns undefined for an id that the file does not have. @throws DocumentError if the file can no longer be read.
   */
  async find(id: string): Promise<KeyObject | undefined> {
    const known = this.keys.get(id);
    if (known) return known;
    const read = await readKeyFile(this.file);
    this.keys = secretsOf(read);
    // Others already encrypt with another key, so this process may do so, too.
    this.currentId = read.current;
    return this.keys.get(id);
  }
}

const secretsOf = ({ keys }: EncryptionKeys): ReadonlyMap<string, KeyObject> =>
  new Map([...keys].map(([id, bytes]) => [id, createSecretKey(bytes)]));
