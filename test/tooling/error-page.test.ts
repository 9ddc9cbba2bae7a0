/** The page of error codes is that of the catalogue. */
import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { failureCatalogue } from '../../domain/errors.js';
import { ERROR_PAGE, errorPage } from '../../tools/error-page.js';

test('docs/errors.md is what `npm run error-page` writes', async () => {
  expect(await readFile(ERROR_PAGE, 'utf8')).toBe(errorPage());
});

test('it has a row for each code, with its message and remedy', () => {
  const rows = errorPage()
    .split('\n')
    .filter((line) => line.startsWith('| `'));
  expect(rows).toHaveLength(Object.keys(failureCatalogue).length + 1);
  for (const [code, { message, remedy }] of Object.entries(failureCatalogue)) {
    expect(rows).toContain(`| \`${code}\` | ${message} | ${remedy} |`);
  }
});
