/** `codec-server`: lets the Web UI show encrypted data. */
import { Command, InvalidArgumentError } from 'commander';
import { stopSignal } from '../../workers/stop-signals.js';
import { RefusedError } from '../errors.js';
import { note } from '../output.js';
import { portNumber } from './numbers.js';

const DEFAULT_PORT = 8888;

interface CodecServerOptions {
  readonly port: number;
  readonly uiOrigin: string[];
}

export function codecServerCommand(): Command {
  return new Command('codec-server')
    .summary('decrypt data for the Temporal Web UI')
    .description(
      "Decrypts Temporal's data for the pages of its Web UI, until Ctrl-C, with the keys of " +
        'FARSHORE_ENCRYPTION_KEYS. Enter its address in the Web UI as the codec endpoint. It listens on 127.0.0.1 ' +
        'only and answers every program that can connect there, so run it only where all users are operators. ' +
        '`farshore up` runs its own.',
    )
    .option('--port <port>', 'port on 127.0.0.1', portNumber, DEFAULT_PORT)
    .requiredOption(
      '--ui-origin <origin...>',
      'address of the Web UI as the browser shows it, such as https://temporal.example',
      originOf,
    )
    .addHelpText('after', '\nExample:\n  farshore codec-server --ui-origin http://127.0.0.1:8233')
    .action(async ({ port, uiOrigin }: CodecServerOptions) => {
      const signal = stopSignal({ withSupervisor: false });
      // Loaded only when it is needed, because it would delay every other command.
      const [{ CodecServer }, { EncryptionCodec }, { configuredKeys }] = await Promise.all([
        import('../../temporal/encryption/codec-server.js'),
        import('../../temporal/encryption/codec.js'),
        import('../../temporal/encryption/data-converter.js'),
      ]);
      const keys = await configuredKeys();
      if (!keys) throw new RefusedError('no keys are configured here: set FARSHORE_ENCRYPTION_KEYS to the key file');
      const allowed = new Set(uiOrigin);
      const options = { codec: new EncryptionCodec(keys), port, allows: (origin: string) => allowed.has(origin) };
      const server = await CodecServer.listen(options).catch((error: unknown) => {
        const problem = `cannot listen on port ${port} of 127.0.0.1 (${(error as NodeJS.ErrnoException).code})`;
        throw new RefusedError(`${problem}; choose another port with --port`, { cause: error });
      });
      note(`Codec endpoint ${server.url}, for pages of ${uiOrigin.join(' and ')}; Ctrl-C stops it`);
      if (!signal.aborted) {
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      }
      await server.close();
    });
}

function originOf(text: string, before: string[] = []): string[] {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url && /^https?:$/.test(url.protocol) && url.origin === text.replace(/\/$/, '')) return [...before, url.origin];
  throw new InvalidArgumentError('Write an origin as http://host:port or https://host, without a path.');
}
