/** Keys and what they encrypted do not go together. The messages are complete and meant for people. */

/** A payload can't be decrypted. */
export class EncryptionError extends Error {
  override readonly name = 'EncryptionError';
}

/** There is no key of that id in the key file. */
export class UnknownKeyError extends Error {
  override readonly name = 'UnknownKeyError';
}
