/** Checks of this machine, as far as it is a host of the site file: disks, hypervisors, and files that hold secrets. */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { isThere } from '../../disks/make-folder.js';
import { CatalogueError, failureCatalogue } from '../../domain/errors.js';
import { hostsOf, type Site } from '../../domain/site.js';
import { CONNECTION_STRING, SAS } from '../../sites/azure/credentials.js';
import { HypervisorClient, RecoveryComputeClient } from '../../sites/embedded/control-client.js';
import type { DataFolder } from '../data-folder.js';
import { configFileOf } from '../configured-server.js';
import type { LoadedSite } from '../site-file.js';
import { ok, problem, skipped, warning, type Check, type Finding } from './check.js';

/** Hosts of the site file that this machine is: it has had a hypervisor for them, or has the host's name. */
export async function localHosts(site: Site, data: DataFolder): Promise<string[]> {
  const here = new Set(await data.hypervisorHosts());
  const [own] = hostname().toLowerCase().split('.');
  return hostsOf(site)
    .map(({ name }) => name)
    .filter((name) => here.has(name) || name.toLowerCase().split('.')[0] === own);
}

/** @param local see {@link localHosts}. @param isUp whether an instance holds the data folder. */
export function machineChecks(loaded: LoadedSite, data: DataFolder, local: readonly string[], isUp: boolean): Check[] {
  const { site } = loaded;
  const elsewhere = (host: string) => skipped(`${host} is another machine`);
  return [
    ...hostsOf(site).flatMap(({ name }): Check[] => [
      {
        name: `Disks of ${name}`,
        run: async () => (local.includes(name) ? await diskFindings(loaded, name) : elsewhere(name)),
      },
      {
        name: `Hypervisor of ${name}`,
        run: async () => (local.includes(name) ? await hypervisorFinding(site, data, name) : elsewhere(name)),
      },
    ]),
    {
      name: 'Recovery compute',
      run: async () => {
        if (!isUp && !(await isThere(data.recoveryState()))) return skipped('none has run here');
        const vms = await answer(() => new RecoveryComputeClient(data.recoveryControl()).listVms());
        return 'status' in vms ? vms : ok(`answers, and runs ${vms.value.length} replica VMs`);
      },
    },
  ];
}

async function diskFindings({ site, file }: LoadedSite, host: string): Promise<readonly Finding[]> {
  const by = `vms of ${file}`;
  const disks = site.vms
    .filter((vm) => vm.host === host)
    .flatMap((vm) => vm.disks.map((disk) => ({ of: `${vm.name}/${disk.name}`, path: disk.path })));
  const address = site.vault.store;
  const store = address.kind === 'embedded' ? await stat(address.path).catch(() => undefined) : undefined;
  const together: string[] = [];
  const findings: Finding[] = [];
  for (const { of, path } of disks) {
    try {
      await access(path, constants.R_OK);
      if (store && (await stat(path)).dev === store.dev) together.push(of);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const what = code === 'ENOENT' ? `there is no file ${path}` : `${path} can't be read: ${code}`;
      findings.push(
        problem(`disk ${of}: ${what}`, 'put the disk there, correct its path, or let this user read it', by),
      );
    }
  }
  if (together.length > 0) {
    const remedy = 'keep the store on other storage than the disks, at best on another machine';
    const message = `${together.join(', ')} and the store lie on one file system: one failure takes both`;
    findings.push(warning(message, remedy, `vault.store of ${file}`));
  }
  return findings.length > 0 ? findings : [ok(`${disks.length} are there and can be read`, by)];
}

async function hypervisorFinding(site: Site, data: DataFolder, host: string): Promise<Finding> {
  const listed = await answer(() => new HypervisorClient(data.hypervisorControl(host)).listVms());
  if ('status' in listed) return listed;
  const known = listed.value;
  const missing = site.vms.filter((vm) => vm.host === host && !known.some(({ name }) => name === vm.name));
  if (missing.length > 0) {
    const names = missing.map(({ name }) => name).join(', ');
    return problem(
      `does not know ${names} of the site file`,
      `start it again: \`farshore hypervisor --host ${host}\`, or \`farshore down\` and \`farshore up\``,
    );
  }
  const broken = known.find(({ failure }) => failure);
  if (broken?.failure) {
    const { code, detail } = broken.failure;
    return problem(`can't run ${broken.name}: ${detail}`, failureCatalogue[code].remedy);
  }
  return ok(`answers, and knows ${known.length} VMs`);
}

async function answer<T>(ask: () => Promise<T>): Promise<{ value: T } | Finding> {
  try {
    return { value: await ask() };
  } catch (error) {
    if (!(error instanceof CatalogueError)) throw error;
    return problem(error.message, failureCatalogue[error.code].remedy);
  }
}

/** Files that hold secrets, by what names them. */
function secretFiles(env: NodeJS.ProcessEnv): { readonly file: string; readonly by: string }[] {
  const key = env['TEMPORAL_TLS_CLIENT_KEY_PATH'];
  const usesProfile = env['TEMPORAL_CONFIG_FILE'] || env['TEMPORAL_PROFILE'];
  const ofStore = [`${CONNECTION_STRING}_FILE`, `${SAS}_FILE`].flatMap((name) => {
    const file = env[name]?.trim();
    return file ? [{ file, by: `the environment variable ${name}` }] : [];
  });
  return [
    ...ofStore,
    ...(key ? [{ file: key, by: 'the environment variable TEMPORAL_TLS_CLIENT_KEY_PATH' }] : []),
    ...(usesProfile ? [{ file: configFileOf(env), by: 'TEMPORAL_CONFIG_FILE or TEMPORAL_PROFILE' }] : []),
  ];
}

/** One check for each file of credentials that is configured: nobody else may read it. */
export const secretChecks = (env: NodeJS.ProcessEnv): Check[] =>
  secretFiles(env).map(({ file, by }) => ({
    name: 'Credentials',
    run: async () => {
      const found = await stat(file).catch((error: NodeJS.ErrnoException) => error.code ?? 'unreadable');
      if (typeof found === 'string') return problem(`${file} can't be read: ${found}`, 'correct its path', by);
      const mode = (found.mode & 0o777).toString(8).padStart(4, '0');
      if ((found.mode & 0o077) === 0) return ok(`only its owner may read ${file}`, by);
      return warning(`others than its owner may use ${file} (mode ${mode})`, `chmod 600 ${file}`, by);
    },
  }));
