/** What nobody is to find in what Farshore writes and says. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** Variables that hold a secret, or a text with one in it. A further one joins the search by its name here. */
export const secretVariables = [
  'FARSHORE_STORE_SAS',
  'FARSHORE_STORE_CONNECTION_STRING',
  'TEMPORAL_API_KEY',
  'TEMPORAL_TLS_CLIENT_KEY_DATA',
] as const;

/** Where a secret is, in any of the forms it may be written in. Folders are searched to the last file, disks too. */
export async function findSecrets(
  secrets: Readonly<Record<string, string>>,
  where: {
    readonly folder: string;
    /** Names of files that are the secrets' own. */
    readonly except: readonly string[];
    /** By what they are. */
    readonly texts: Readonly<Record<string, string>>;
  },
): Promise<string[]> {
  const found: string[] = [];
  const search = (content: Buffer, place: string) => {
    for (const [name, secret] of Object.entries(secrets)) {
      if (formsOf(secret).some((form) => content.includes(form))) found.push(`${name} in ${place}`);
    }
  };
  for (const name of await readdir(where.folder, { recursive: true })) {
    const file = join(where.folder, name);
    if (where.except.includes(name)) continue;
    // Processes are running, and files of theirs come and go.
    const content = await contentIfThere(file);
    if (content) search(content, name);
  }
  for (const [place, text] of Object.entries(where.texts)) search(Buffer.from(text), place);
  return found;
}

async function contentIfThere(file: string): Promise<Buffer | undefined> {
  try {
    return (await stat(file)).isFile() ? await readFile(file) : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

const formsOf = (secret: string): (string | Buffer)[] => [
  secret,
  encodeURIComponent(secret),
  Buffer.from(secret).toString('base64').replace(/=+$/, ''),
  JSON.stringify(secret).slice(1, -1),
];
