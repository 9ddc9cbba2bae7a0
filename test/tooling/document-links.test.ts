/** Links between the documents lead somewhere: to a file that is there, and to a heading that it has. */
import { existsSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';

const documents = [
  ...(await readdir('.')).filter((name) => name.endsWith('.md')),
  ...(await readdir('docs')).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`),
];

/** As the name of its anchor, by GitHub's rule. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}_\- ]/gu, '')
    .replaceAll(' ', '-');

const headingsOf = async (file: string): Promise<string[]> =>
  [...(await readFile(file, 'utf8')).matchAll(/^#+ (.+)$/gm)].map(([, heading]) => anchorOf(heading!));

test.each(documents)('%s links to files and headings that exist', async (document) => {
  const text = await readFile(document, 'utf8');
  const broken: string[] = [];
  for (const [, link] of text.matchAll(/\]\((?!https?:)([^)\s]+)\)/g)) {
    const [file, anchor] = link!.split('#');
    const target = file ? path.join(path.dirname(document), file) : document;
    const leadsThere = existsSync(target) && (!anchor || (await headingsOf(target)).includes(anchor));
    if (!leadsThere) broken.push(link!);
  }
  expect(broken).toEqual([]);
});
