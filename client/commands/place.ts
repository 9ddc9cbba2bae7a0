/** What a command works with: the data folder, site file, instance and Temporal server. */
import type { Command } from 'commander';
import type { HeldReplica } from '../../domain/held-replica.js';
import type { Site } from '../../domain/site.js';
import { DataFolder, type Instance } from '../../config/data-folder.js';
import { loadSite, type LoadedSite } from '../../config/site-file.js';
import { configuredServer, type ConfiguredServer } from '../../temporal/configured-server.js';
import { RefusedError, UnreachableError } from '../errors.js';
import type { Farshore } from '../farshore.js';
import { note, Output } from '../output.js';
import { unlessItHangs } from './store-patience.js';

/** The program's options, which every command accepts. */
export interface CommonOptions {
  readonly json?: true;
  readonly data?: string;
  readonly site?: string;
}

/** Names the address of the Temporal Web UI. */
export const UI_VARIABLE = 'FARSHORE_UI_URL';

export interface Place {
  readonly data: DataFolder;
  readonly site: LoadedSite;
  /** The instance that uses the data folder, if there is one. */
  readonly instance: Instance | undefined;
  readonly temporal: TemporalPlace;
}

export interface TemporalPlace {
  readonly address: string;
  /** Undefined for the namespace that the environment configures, or the default one. */
  readonly namespace: string | undefined;
  /** Undefined if its address is unknown. */
  readonly uiUrl: string | undefined;
  /** The environment configures this server, including how to connect to it. */
  readonly isConfigured: boolean;
  /** Where the address comes from. */
  readonly configuredBy: string;
}

export const commonOptions = (command: Command): CommonOptions => command.optsWithGlobals<CommonOptions>();
export const outputOf = (command: Command): Output => new Output(commonOptions(command).json ?? false);

export const dataFolderOf = ({ data }: CommonOptions): DataFolder =>
  new DataFolder(data ?? process.env['FARSHORE_DATA'] ?? '.farshore');

/** The site file if no instance is running. */
export const siteFileOf = ({ site }: CommonOptions): string => site ?? process.env['FARSHORE_SITE'] ?? 'site.yaml';

/**
 * The Temporal server that the environment names takes precedence over the instance's.
 * @throws UnreachableError if there is neither, DocumentError for the site file.
 */
export async function findPlace(command: Command): Promise<Place> {
  const options = commonOptions(command);
  const data = dataFolderOf(options);
  const instance = (await data.isHeld()) ? await data.readInstance() : undefined;
  const temporal = temporalPlaceOf(instance, data);
  const site = await loadSite(options.site ?? instance?.siteFile ?? siteFileOf(options), { disks: false });
  return { data, site, instance, temporal };
}

/** @throws UnreachableError if there is no server, RefusedError if the environment's settings are invalid. */
export function temporalPlaceOf(instance: Instance | undefined, data: DataFolder): TemporalPlace {
  const server = environmentServer();
  if (server) {
    const { address, namespace, configuredBy } = server;
    const uiUrl = instance?.temporal.address === address ? instance.temporal.uiUrl : undefined;
    return { address, namespace, uiUrl: configuredUi() ?? uiUrl, isConfigured: true, configuredBy };
  }
  if (!instance) {
    throw new UnreachableError(
      `no instance is running in ${data.path}, and no Temporal is configured: set TEMPORAL_ADDRESS to the site's Temporal, or start a whole site on this machine with \`farshore up\``,
    );
  }
  const { address, namespace, uiUrl } = instance.temporal;
  return { address, namespace, uiUrl, isConfigured: false, configuredBy: `the instance in ${data.path}` };
}

/** The address of the Web UI of an external Temporal. @throws RefusedError */
function configuredUi(): string | undefined {
  const url = process.env[UI_VARIABLE];
  if (!url) return undefined;
  if (/^https?:/.test(url) && URL.canParse(url)) return url.replace(/\/+$/, '');
  throw new RefusedError(
    `${UI_VARIABLE} is ${url}, which is not an address: write it like https://temporal.example:8080`,
  );
}

/** The Temporal server that the environment names. @throws RefusedError if the settings are invalid. */
export function environmentServer(): ConfiguredServer | undefined {
  try {
    return configuredServer();
  } catch (error) {
    throw new RefusedError((error as Error).message, { cause: error });
  }
}

/** @throws UnreachableError if Temporal does not answer. */
export async function connectTo(place: Place): Promise<Farshore> {
  // Loaded here because it takes a while, which commands without Temporal should not pay for.
  const { Farshore } = await import('../farshore.js');
  return await Farshore.connect({
    site: place.site.site,
    ...givenBy(place.temporal),
    onRemark: (line) => note(`Note: ${line}`),
  });
}

/** Connects, runs the work, and closes the connection in any case. */
export async function withFarshore<T>(
  command: Command,
  work: (farshore: Farshore, place: Place) => Promise<T>,
): Promise<T> {
  const place = await findPlace(command);
  const farshore = await connectTo(place);
  try {
    return await work(farshore, place);
  } finally {
    await farshore.close();
  }
}

/** Connect options for a Temporal server; none if the environment configures it. */
export const givenBy = ({ address, namespace, isConfigured, configuredBy }: TemporalPlace) =>
  isConfigured ? {} : { address, ...(namespace !== undefined && { namespace }), configuredBy };

/** The replicas in the vault. @param except VMs to leave out. Empty if the store can't be read here. */
export async function heldReplicas({ vault }: Site, except: readonly string[]): Promise<HeldReplica[]> {
  const { readHeldReplicas } = await import('../../local/local-vault.js');
  return await unlessItHangs(readHeldReplicas(vault, except), []);
}
