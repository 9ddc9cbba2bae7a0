import { join } from 'node:path';
import { defaultPayloadConverter, type Payload } from '@temporalio/common';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { EncryptionCodec, isEncrypted } from '../../../temporal/encryption/codec.js';
import { EncryptionError } from '../../../temporal/encryption/errors.js';
import { KeyRing } from '../../../temporal/encryption/key-ring.js';
import { newKey, writeKeyFile } from '../../support/key-files.js';
import { temporaryFolder } from '../../support/temporary-folder.js';

const [a, b] = [newKey(), newKey()];
const payloadOf = (value: unknown): Payload => defaultPayloadConverter.toPayload(value)!;
const valueOf = (payload: Payload | undefined): unknown => defaultPayloadConverter.fromPayload(payload!);
const idOf = ({ metadata }: Payload) => Buffer.from(metadata!['encryption-key-id']!).toString();

let file: string;
beforeEach(async () => {
  file = join(await temporaryFolder(), 'keys.yaml');
});
async function codecWith(current: string, keys: Readonly<Record<string, string>>): Promise<EncryptionCodec> {
  await writeKeyFile(file, current, keys);
  return new EncryptionCodec(await KeyRing.open(file));
}
async function encoded(codec: EncryptionCodec, value: unknown): Promise<Payload> {
  const [payload] = await codec.encode([payloadOf(value)]);
  return payload!;
}

describe('an encrypted payload', () => {
  test('is marked as encrypted, names its key, and reveals nothing else', async () => {
    const codec = await codecWith('a', { a });
    const payload = await encoded(codec, { vm: 'db-01' });
    expect(isEncrypted(payload)).toBe(true);
    expect(Buffer.from(payload.metadata!['encoding']!).toString()).toBe('binary/encrypted');
    expect(Object.keys(payload.metadata!).toSorted()).toEqual(['encoding', 'encryption-key-id']);
    expect(idOf(payload)).toBe('a');
    expect(Buffer.from(payload.data!).toString('latin1')).not.toMatch(/db-01|json/);
  });

  test('differs each time', async () => {
    const codec = await codecWith('a', { a });
    const texts = await Promise.all(Array.from({ length: 20 }, () => encoded(codec, 'the same')));
    expect(new Set(texts.map(({ data }) => Buffer.from(data!).toString('hex'))).size).toBe(20);
  });

  test('is decrypted to the original, whatever that is', async () => {
    const codec = await codecWith('a', { a });
    const metadata = fc.dictionary(fc.string({ maxLength: 20 }), fc.uint8Array({ maxLength: 20 }));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ metadata, data: fc.uint8Array({ maxLength: 4096 }) })),
        async (payloads) => {
          const back = await codec.decode(await codec.encode(payloads));
          expect(back.map(plain)).toEqual(payloads.map(plain));
        },
      ),
    );
    for (const value of [undefined, null, '', 0, { deep: [1, { vm: 'db-01' }] }, new Uint8Array([0, 255])]) {
      const [back] = await codec.decode([await encoded(codec, value)]);
      expect(valueOf(back)).toEqual(value);
    }
  });

  test('is refused if a single bit has changed', async () => {
    const codec = await codecWith('a', { a });
    const { metadata, data } = await encoded(codec, { vm: 'db-01' });
    await fc.assert(
      fc.asyncProperty(fc.nat(data!.length * 8 - 1), async (bit) => {
        const changed = Uint8Array.from(data!);
        changed[bit >> 3]! ^= 1 << (bit & 7);
        await expect(codec.decode([{ metadata: metadata!, data: changed }])).rejects.toThrow(EncryptionError);
      }),
    );
    await fc.assert(
      fc.asyncProperty(fc.nat(data!.length - 1), async (length) => {
        const cut = { metadata: metadata!, data: data!.slice(0, length) };
        await expect(codec.decode([cut])).rejects.toThrow(/cannot be decrypted with key a of .*: the key was changed/);
      }),
    );
  });

  test('is refused under the id of another key, even with the same bytes', async () => {
    const codec = await codecWith('a', { a, same: a });
    const { data, metadata } = await encoded(codec, 1);
    const renamed = { data: data!, metadata: { ...metadata, 'encryption-key-id': Buffer.from('same') } };
    await expect(codec.decode([renamed])).rejects.toThrow(/cannot be decrypted with key same/);
  });
});

describe('keys', () => {
  test('that were replaced still decrypt', async () => {
    const older = await encoded(await codecWith('a', { a }), 'older');
    const codec = await codecWith('b', { a, b });
    const newer = await encoded(codec, 'newer');
    expect([idOf(older), idOf(newer)]).toEqual(['a', 'b']);
    expect((await codec.decode([older, newer])).map(valueOf)).toEqual(['older', 'newer']);
  });

  test('that were added in the meantime are loaded, and encrypt from then on', async () => {
    const running = await codecWith('a', { a });
    const added = await encoded(await codecWith('b', { a, b }), 'new');
    expect(idOf(await encoded(running, 1))).toBe('a');
    const [back] = await running.decode([added]);
    expect(valueOf(back)).toBe('new');
    expect(idOf(await encoded(running, 1))).toBe('b');
  });

  test('that are missing are named, together with those that exist', async () => {
    const payload = await encoded(await codecWith('a', { a }), 1);
    const other = await codecWith('b', { b, c: newKey() });
    await expect(other.decode([payload])).rejects.toThrow(
      /encrypted with key a, which .*keys\.yaml does not have; it has: b, c\./,
    );
    const none = new EncryptionCodec(undefined);
    await expect(none.decode([payload])).rejects.toThrow(
      /encrypted with key a, but no keys are configured here\. Set FARSHORE_/,
    );
  });

  test('with the same id and other bytes do not decrypt, and neither is shown', async () => {
    const payload = await encoded(await codecWith('a', { a }), 'secret');
    const other = await codecWith('a', { a: b });
    const error: unknown = await other.decode([payload]).catch((refused: unknown) => refused);
    expect((error as Error).message).toMatch(/encrypted with another key of the same id/);
    for (const hidden of [a, b, 'secret']) expect((error as Error).message).not.toContain(hidden);
  });
});

test('unencrypted payloads are read among encrypted ones', async () => {
  const codec = await codecWith('a', { a });
  const before = payloadOf({ vm: 'db-01' });
  const mixed = [before, await encoded(codec, 2), payloadOf(undefined)];
  expect((await codec.decode(mixed)).map(valueOf)).toEqual([{ vm: 'db-01' }, 2, undefined]);
});

test('without keys, payloads are not changed', async () => {
  const codec = new EncryptionCodec(undefined);
  const payloads = [payloadOf({ vm: 'db-01' })];
  expect(await codec.encode(payloads)).toBe(payloads);
  expect(await codec.decode(payloads)).toEqual(payloads);
});

const plain = ({ metadata, data }: Payload) => ({
  metadata: Object.entries(metadata ?? {})
    .map(([name, bytes]) => `${JSON.stringify(name)} ${Buffer.from(bytes).toString('hex')}`)
    .toSorted(),
  data: Buffer.from(data ?? []).toString('hex'),
});
