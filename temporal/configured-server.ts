/** The Temporal server that the environment names, and where exactly it does. */
import { closeSync, openSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { loadClientConnectConfig, type ClientConnectConfig } from '@temporalio/envconfig';

/** A Temporal server that runs already, as the environment describes it. */
export interface ConfiguredServer {
  readonly kind: 'address';
  /** Host and port. */
  readonly address: string;
  /** The namespace that the environment names, if it names one. */
  readonly namespace: string | undefined;
  /** Address, TLS, API key and metadata, as `NativeConnection.connect` and `Connection.connect` take them. */
  readonly connectionOptions: ClientConnectConfig['connectionOptions'];
  /** Where the address stands, as it reads after "configured by". */
  readonly configuredBy: string;
  /** Where the namespace stands; undefined when nobody names one. */
  readonly namespaceBy: string | undefined;
}

/**
 * The server that `TEMPORAL_ADDRESS`, `TEMPORAL_PROFILE` or `TEMPORAL_CONFIG_FILE` point at, with everything else that
 * the Temporal client configuration says about it; undefined if none of them is set. Throws if they are set but name no
 * address, or can't be read: falling back to another server would be a surprise.
 */
export function configuredServer(env: NodeJS.ProcessEnv = process.env): ConfiguredServer | undefined {
  // The default profile of the user's own configuration file is not consulted unasked: it may well be a production
  // cluster, and `farshore up` would create a namespace there.
  const named = ['TEMPORAL_ADDRESS', 'TEMPORAL_PROFILE', 'TEMPORAL_CONFIG_FILE'].filter((name) => env[name]);
  if (named.length === 0) return undefined;
  checkFiles(env);
  const { connectionOptions, namespace } = load(env, named);
  const { address, apiKey } = connectionOptions;
  if (!address) {
    throw new Error(
      `${named.join(' and ')} is set, but names no Temporal address. ` +
        'Set TEMPORAL_ADDRESS to host:port, choose a profile that has an address, or unset the variable to use a local server.',
    );
  }
  const by = (variable: string) => (env[variable] ? `the environment variable ${variable}` : profileOf(env));
  if (typeof apiKey === 'string' && !/^[\x21-\x7e]+$/.test(apiKey)) {
    throw new Error(
      `The API key that ${by('TEMPORAL_API_KEY')} gives contains a character that no API key has, such as a space, a line break or an accented letter: copy the key again, completely.`,
    );
  }
  return {
    ...{ kind: 'address', address, namespace, connectionOptions },
    configuredBy: by('TEMPORAL_ADDRESS'),
    namespaceBy: namespace === undefined ? undefined : by('TEMPORAL_NAMESPACE'),
  };
}

/** Variables that name files. */
const FILES = [
  'TEMPORAL_CONFIG_FILE',
  'TEMPORAL_TLS_SERVER_CA_CERT_PATH',
  'TEMPORAL_TLS_CLIENT_CERT_PATH',
  'TEMPORAL_TLS_CLIENT_KEY_PATH',
];

/** Whoever reads them later tells neither which is meant nor who named it. */
function checkFiles(env: NodeJS.ProcessEnv): void {
  for (const name of FILES) {
    const file = env[name];
    if (!file) continue;
    try {
      closeSync(openSync(file, 'r'));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const why = code === 'ENOENT' ? 'the file does not exist' : `it can't be read (${code})`;
      throw new Error(`${name} names ${file}: ${why}. Correct the variable, or create the file.`, { cause: error });
    }
  }
}

function load(env: NodeJS.ProcessEnv, named: readonly string[]): ClientConnectConfig {
  const defined = Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined);
  try {
    return loadClientConnectConfig({ overrideEnvVars: Object.fromEntries(defined) });
  } catch (error) {
    throw new Error(
      `The Temporal configuration that ${named.join(' and ')} names cannot be used: ${firstLine(error)}. ` +
        `Correct ${profileOf(env)}, the TEMPORAL_TLS_… variables and the files they name, or unset them.`,
      { cause: error },
    );
  }
}

/** No more: what follows quotes lines of the file, and a key may stand in them. */
const firstLine = (error: unknown): string => (error as Error).message.split('\n', 1)[0]!.replace(/\.$/, '');

const profileOf = (env: NodeJS.ProcessEnv): string =>
  `the profile ${env['TEMPORAL_PROFILE'] || 'default'} of ${configFileOf(env)}`;

/** Where the SDK looks for profiles. */
export function configFileOf(env: NodeJS.ProcessEnv): string {
  const given = env['TEMPORAL_CONFIG_FILE'];
  if (given) return path.resolve(given);
  const folder =
    process.platform === 'darwin'
      ? path.join(homedir(), 'Library', 'Application Support')
      : (env['XDG_CONFIG_HOME'] ?? path.join(env['HOME'] ?? homedir(), '.config'));
  return path.join(folder, 'temporalio', 'temporal.toml');
}
