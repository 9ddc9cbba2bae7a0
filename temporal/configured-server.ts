/** The Temporal server that the environment names, and the exact place where it does. */
import { closeSync, openSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { loadClientConnectConfig, type ClientConnectConfig } from '@temporalio/envconfig';

/** A running Temporal server, as the environment describes it. */
export interface ConfiguredServer {
  readonly kind: 'address';
  /** Host and port. */
  readonly address: string;
  /** The namespace, if the environment names one. */
  readonly namespace: string | undefined;
  /**
   * Address, TLS, API key and metadata, in the form that `NativeConnection.connect` and `Connection.connect` accept.
   */
  readonly connectionOptions: ClientConnectConfig['connectionOptions'];
  /** Where the address is configured, worded to follow "configured by". */
  readonly configuredBy: string;
  /** Where the namespace is configured; undefined if it is not. */
  readonly namespaceBy: string | undefined;
}

/**
 * The server that `TEMPORAL_ADDRESS`, `TEMPORAL_PROFILE` or `TEMPORAL_CONFIG_FILE` names, with all other settings of
 * the Temporal client configuration; undefined if none of them is set. Throws if they are set but name no address, or
 * cannot be read: using another server instead would be a surprise.
 */
export function configuredServer(env: NodeJS.ProcessEnv = process.env): ConfiguredServer | undefined {
  // The default profile in the user's own configuration file is used only on request: it may name a production cluster,
  // and `farshore up` would create a namespace there.
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

/** Checked here, because errors of later readers say neither which file is meant nor which variable names it. */
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

/** Only the first line: the following ones quote the file, which may contain a key. */
const firstLine = (error: unknown): string => (error as Error).message.split('\n', 1)[0]!.replace(/\.$/, '');

const profileOf = (env: NodeJS.ProcessEnv): string =>
  `the profile ${env['TEMPORAL_PROFILE'] || 'default'} of ${configFileOf(env)}`;

/** The file in which the SDK looks for profiles. */
export function configFileOf(env: NodeJS.ProcessEnv): string {
  const given = env['TEMPORAL_CONFIG_FILE'];
  if (given) return path.resolve(given);
  const folder =
    process.platform === 'darwin'
      ? path.join(homedir(), 'Library', 'Application Support')
      : (env['XDG_CONFIG_HOME'] ?? path.join(env['HOME'] ?? homedir(), '.config'));
  return path.join(folder, 'temporalio', 'temporal.toml');
}
