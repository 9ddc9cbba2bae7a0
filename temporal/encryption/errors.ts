/** Mismatches between keys and encrypted data. The messages are complete and written for people. */

/** A payload cannot be decrypted. */
export class EncryptionError extends Error {
  override readonly name = 'EncryptionError';
}

/** The key file has no key with this id. */
export class UnknownKeyError extends Error {
  override readonly name = 'UnknownKeyError';
}
