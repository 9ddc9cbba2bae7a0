import fc from 'fast-check';
import { expect, it } from 'vitest';
import { formatBytes } from '../../domain/bytes.js';

it.each([
  [0, '0 B'],
  [512, '512 B'],
  [1023, '1023 B'],
  [1024, '1.0 KiB'],
  [1536, '1.5 KiB'],
  [2 ** 20 - 1, '1.0 MiB'],
  [256 * 2 ** 20, '256.0 MiB'],
  [2 ** 40 - 1, '1.0 TiB'],
  [5000 * 2 ** 40, '5000.0 TiB'],
])('%d bytes are %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

it('is never wrong by more than its last digit', () => {
  const size = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };
  fc.assert(
    fc.property(fc.nat(2 ** 49), (bytes) => {
      const [value, unit] = formatBytes(bytes).split(' ') as [string, keyof typeof size];
      expect(Number(value)).toBeLessThan(1024);
      expect(Math.abs(Number(value) * size[unit] - bytes)).toBeLessThanOrEqual(size[unit] * 0.0501);
    }),
  );
});
