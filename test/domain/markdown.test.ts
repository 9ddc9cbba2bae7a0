import { expect, it } from 'vitest';
import { inMarkdown } from '../../domain/markdown.js';

it.each([
  ['farshore retry db-01', '`farshore retry db-01`'],
  [
    'To protect it again: farshore unprotect db-01 --wait, then farshore vm start db.01 and farshore protect db-01 --wait',
    'To protect it again: `farshore unprotect db-01 --wait`, then `farshore vm start db.01` and `farshore protect db-01 --wait`',
  ],
  [
    'start its agent again: farshore worker --role host --name hv-01. End one that hangs',
    'start its agent again: `farshore worker --role host --name hv-01`. End one that hangs',
  ],
  [
    'farshore job show job/v/db-01/resync/20260301T120000Z  (the job "Resync" is running)',
    '`farshore job show job/v/db-01/resync/20260301T120000Z`  (the job "Resync" is running)',
  ],
  ['Only then: `farshore up --new-store`, or --force', 'Only then: `farshore up --new-store`, or `--force`'],
  ['there is no <disk> *.vhd', String.raw`there is no \<disk> \*.vhd`],
])('what is to be typed stands as code: %s', (text, shown) => {
  expect(inMarkdown(text)).toBe(shown);
});
