/**
 * Azurite, the storage emulator, as a separate process. It replaces a storage account in the demo and in tests. If it
 * is killed, it loses up to five seconds of acknowledged writes, so do not keep real replicas in it.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';

/** The emulator's only account; its key is public. */
const ACCOUNT = 'devstoreaccount1';
const KEY = 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==';
const READY_TIMEOUT_MS = 30_000;

export interface AzuriteOptions {
  /** Folder for its data. @default in memory */
  readonly folder?: string;
  /** @default 127.0.0.1 */
  readonly host?: string;
  /** A command to run it with, put before its own. */
  readonly launcher?: readonly string[];
  /** PEM files for https. */
  readonly tls?: { readonly certificate: string; readonly key: string };
}

export class Azurite {
  private constructor(
    private readonly child: ChildProcess,
    /** The account's address. */
    readonly url: string,
  ) {}

  /** @throws if Azurite is not installed or does not start. */
  static async start({ folder, tls, host = '127.0.0.1', launcher = [] }: AzuriteOptions = {}): Promise<Azurite> {
    const program = createRequire(import.meta.url).resolve('azurite/dist/src/blob/main.js');
    const place = folder === undefined ? ['--inMemoryPersistence'] : ['--location', folder];
    const secure = tls ? ['--cert', tls.certificate, '--key', tls.key] : [];
    const settings = ['--loose', '--skipApiVersionCheck', '--disableTelemetry', '--blobHost', host, '--blobPort', '0'];
    const command = [...launcher, process.execPath, program, ...settings, ...place, ...secure] as [string, ...string[]];
    const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] });
    return new Azurite(child, `${await listening(child)}/${ACCOUNT}`);
  }

  get pid(): number {
    return this.child.pid!;
  }

  /**
   * For a client, and for `FARSHORE_STORE_CONNECTION_STRING`.
   * @param url the account's address, if it is reached by another one.
   */
  connectionString(url: string = this.url): string {
    const protocol = new URL(url).protocol.slice(0, -1);
    return `DefaultEndpointsProtocol=${protocol};AccountName=${ACCOUNT};AccountKey=${KEY};BlobEndpoint=${url};`;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill();
    await once(this.child, 'exit');
  }
}

/** @returns the address on which it listens. */
async function listening(child: ChildProcess): Promise<string> {
  let said = '';
  const address = new Promise<string>((resolve, reject) => {
    child.stdout!.on('data', (part: Buffer) => {
      said += part.toString();
      const [, found] = /successfully listens on (\S+)/.exec(said) ?? [];
      if (found !== undefined) resolve(found);
    });
    child.stderr!.on('data', (part: Buffer) => (said += part.toString()));
    child.once('exit', () => reject(new Error(`Azurite has ended: ${said.trim()}`)));
    setTimeout(() => reject(new Error(`Azurite does not start: ${said.trim()}`)), READY_TIMEOUT_MS).unref();
  });
  return await address.catch((error: unknown) => {
    child.kill();
    throw error;
  });
}
