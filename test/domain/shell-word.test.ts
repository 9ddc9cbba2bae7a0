/** What people copy into a shell is one word there, and the one that was meant: asked of a shell. */
import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { shellWord } from '../../domain/shell-word.js';

test.each([
  ['/var/lib/farshore', '/var/lib/farshore'],
  ['127.0.0.1:7233', '127.0.0.1:7233'],
  ['my data', "'my data'"],
  ["o'neill", String.raw`'o'\''neill'`],
  ['"quoted"', `'"quoted"'`],
  ['$HOME/$(id)`id`', "'$HOME/$(id)`id`'"],
  ['~/a*b;c&d|e>f', "'~/a*b;c&d|e>f'"],
  ['two\nlines', "'two\nlines'"],
  ['', "''"],
  // A shell has no say in what a program takes for an option: that is for whoever names a file.
  ['-rf', '-rf'],
  ['-r f', "'-r f'"],
])('%j is written %s', (text, word) => {
  expect(shellWord(text)).toBe(word);
  const script = `printf '<%s>' ${shellWord(text)}`;
  expect(execFileSync('sh', ['-c', script], { encoding: 'utf8' })).toBe(`<${text}>`);
});
