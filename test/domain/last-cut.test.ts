import { describe, expect, test } from 'vitest';
import { comparedWrites, holdsEverything, type CutOfSource } from '../../domain/last-cut.js';

const at = (minute: number) => `2026-03-01T10:0${minute}:00.000Z`;
const writes = (os: number, data: number) => [
  { name: 'os', lastWrite: os },
  { name: 'data', lastWrite: data },
];
const last: CutOfSource = { final: true, sealedAt: at(5), lastWrites: writes(7, 9), issued: writes(7, 9) };

describe('a cut of a VM whose exports were closed is complete', () => {
  test('if it was sealed afterwards, and the tracker has recorded no write since', () => {
    expect(holdsEverything(last, at(5))).toBe(true);
    expect(holdsEverything({ ...last, issued: writes(7, 9).toReversed() }, at(4))).toBe(true);
  });

  test.each<[string, CutOfSource]>([
    ['the VM ran', { ...last, final: false }],
    ['it was sealed at an earlier shutdown', { ...last, sealedAt: at(3) }],
    ['a disk was written to since', { ...last, issued: writes(7, 10) }],
    [
      'the tracker has a disk that the cut lacks',
      { ...last, issued: [...writes(7, 9), { name: 'new', lastWrite: 0 }] },
    ],
    ['the tracker does not count any more', { ...last, issued: undefined }],
  ])('not when %s', (_, cut) => {
    expect(holdsEverything(cut, at(4))).toBe(false);
  });
});

test('if the replica has every write that the tracker has recorded, on every disk', () => {
  expect(comparedWrites(writes(7, 9), [{ name: 'os', lastWrite: 7 }])).toEqual([
    { name: 'os', lastWriteIssued: 7, lastWriteApplied: 7 },
    { name: 'data', lastWriteIssued: 9, lastWriteApplied: 0 },
  ]);
});
