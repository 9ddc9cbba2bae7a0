/** The store of the demo's replicas: a folder, or an Azurite that the demo starts. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { note } from '../output.js';
import { Azurite } from './azurite.js';

/** The variable through which this process and those of the instance get the credentials. */
const CONNECTION_STRING = 'FARSHORE_STORE_CONNECTION_STRING';
const CONTAINER = 'demo-vault';
const RECORD = 'azurite.json';

export interface DemoStore {
  /** @returns the value of `store:` in the site file. */
  begin(folder: string): Promise<string>;
  /** Not called if the site is kept. */
  end(): Promise<void>;
}

export type DemoStorage = 'embedded' | 'azurite';

export const demoStores: Record<DemoStorage, () => DemoStore> = {
  embedded: () => ({
    begin: () => Promise.resolve('{ kind: embedded, path: store }'),
    end: () => Promise.resolve(),
  }),
  azurite: () => {
    let azurite: Azurite | undefined;
    return {
      async begin(folder) {
        const place = path.join(folder, 'azurite');
        await mkdir(place, { recursive: true });
        azurite = await Azurite.start({ folder: place });
        note(`Azurite, the emulator of a storage account, listens on ${azurite.url} (process ${azurite.pid})`);
        const connectionString = azurite.connectionString();
        process.env[CONNECTION_STRING] = connectionString;
        await writeFile(path.join(folder, RECORD), JSON.stringify({ connectionString, pid: azurite.pid }));
        return `{ kind: azure, url: '${azurite.url}/${CONTAINER}' }`;
      },
      end: async () => azurite?.stop(),
    };
  },
};

/** Restarts the store of a demo that was kept. */
export async function againBeside(folder: string): Promise<void> {
  const text = await readFile(path.join(folder, RECORD), 'utf8').catch(() => undefined);
  if (text === undefined) return;
  process.env[CONNECTION_STRING] ??= (JSON.parse(text) as { connectionString: string }).connectionString;
}
