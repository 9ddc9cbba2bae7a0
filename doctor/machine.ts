/** Checks of this machine if it is a host of the site file: disks, hypervisors, and files that contain secrets. */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';
import { isThere } from '../disks/make-folder.js';
import { openDisk } from '../disks/open-disk.js';
import { counted } from '../domain/counted.js';
import { CatalogueError, failureCatalogue } from '../domain/errors.js';
import { BEFORE_THAT, startHypervisor } from '../domain/start-again.js';
import { shellWord } from '../domain/shell-word.js';
import { CONNECTION_STRING, SAS } from '../sites/azure-store/credentials.js';
import { HypervisorClient, RecoveryComputeClient } from '../sites/hypervisor/control-client.js';
import type { DataFolder } from '../config/data-folder.js';
import { configFileOf } from '../temporal/configured-server.js';
import { soon } from '../local/local-site.js';
import type { LoadedSite } from '../config/site-file.js';
import { privacyCheck } from './privacy.js';
import { nameAgain, type Scope, type ScopeHost } from './scope.js';
import { ok, problem, skipped, warning, type Check, type Finding } from './check.js';

/** Hosts that run on this machine: it has had a hypervisor for them, or has the host's name. */
export async function localHosts({ hosts }: Scope, data: DataFolder): Promise<string[]> {
  const here = new Set(await data.hypervisorHosts());
  const [own] = hostname().toLowerCase().split('.');
  return hosts.map(({ name }) => name).filter((name) => here.has(name) || name.toLowerCase().split('.')[0] === own);
}

/** @param local see {@link localHosts}. @param isUp whether an instance holds the data folder. */
export function machineChecks(
  loaded: LoadedSite,
  scope: Scope,
  data: DataFolder,
  local: readonly string[],
  isUp: boolean,
): Check[] {
  const elsewhere = (host: string) => skipped(`${host} is another machine`);
  return [
    ...scope.hosts.flatMap((host): Check[] => [
      {
        name: `Disks of ${host.name}`,
        run: async () => (local.includes(host.name) ? await diskFindings(loaded, host) : elsewhere(host.name)),
      },
      {
        name: `Hypervisor of ${host.name}`,
        run: async () => (local.includes(host.name) ? await hypervisorFindings(data, host) : elsewhere(host.name)),
      },
    ]),
    privacyCheck('Privacy of the data folder', data.path, 'the data folder'),
    {
      name: 'Recovery compute',
      run: async () => {
        if (!isUp && !(await isThere(data.recoveryState()))) return skipped('has not run on this machine');
        const vms = await answer(() => new RecoveryComputeClient(data.recoveryControl()).listVms());
        return 'status' in vms ? vms : ok(`answers and runs ${counted(vms.value.length, 'replica VM')}`);
      },
    },
  ];
}

async function diskFindings(
  { site, file }: LoadedSite,
  { name: host, unnamedVms }: ScopeHost,
): Promise<readonly Finding[]> {
  const by = `vms of ${file}`;
  const disks = site.vms
    .filter((vm) => vm.host === host)
    .flatMap((vm) => vm.disks.map(({ name, path, format }) => ({ of: `${vm.name}/${name}`, path, format })));
  const address = site.vault.store;
  const store = address.kind === 'embedded' ? await stat(address.path).catch(() => undefined) : undefined;
  const together: string[] = [];
  const findings: Finding[] = [];
  for (const { of, path, format } of disks) {
    try {
      await access(path, constants.R_OK);
      await (await openDisk(path, format, { readOnly: true })).close();
      if (store && (await stat(path)).dev === store.dev) together.push(of);
    } catch (error) {
      if (error instanceof CatalogueError) {
        findings.push(problem(`disk ${of}: ${error.message}`, failureCatalogue[error.code].remedy, by));
        continue;
      }
      const { code } = error as NodeJS.ErrnoException;
      const what = code === 'ENOENT' ? `there is no file ${path}` : `${path} can't be read: ${code}`;
      findings.push(
        problem(`disk ${of}: ${what}`, 'put the disk there, correct its path, or give this user read access', by),
      );
    }
  }
  if (together.length > 0) {
    const remedy = 'keep the store on different storage from the disks, preferably on another machine';
    const message = `${together.join(', ')} and the store are on the same file system: one failure destroys both`;
    findings.push(warning(message, remedy, `vault.store of ${file}`));
  }
  if (findings.length === 0 && (disks.length > 0 || unnamedVms.length === 0)) {
    findings.push(ok(`${counted(disks.length, 'disk')} found, all readable`, by));
  }
  if (unnamedVms.length > 0) {
    findings.push(skipped(`the disks of ${unnamedVms.join(', ')} cannot be checked: the VMs are missing from ${file}`));
  }
  return findings;
}

async function hypervisorFindings(data: DataFolder, host: ScopeHost): Promise<readonly Finding[]> {
  const { name, vms, unnamedVms, onlyFor } = host;
  const again = `restart the hypervisor: \`${startHypervisor(name)}\`. ${BEFORE_THAT}`;
  const readAgain = `restart the hypervisor, which then reads the site file: \`farshore down\` and \`farshore up\`, or \`${startHypervisor(name)}\``;
  const listed = await answer(() => soon(new HypervisorClient(data.hypervisorControl(name)).listVms()));
  // A hypervisor cannot be started for a host that is missing from the site file.
  if ('status' in listed) {
    return [{ ...listed, remedy: onlyFor ? `${nameAgain('host', host)}; then ${again}` : again }];
  }
  const known = listed.value;
  const findings: Finding[] = [];
  const lacking = (of: readonly string[]) => of.filter((vm) => !known.some((each) => each.name === vm));
  const missing = lacking(vms).join(', ');
  if (missing) findings.push(problem(`does not know ${missing}, which the site file names`, readAgain));
  const unnamed = lacking(unnamedVms).join(', ');
  if (unnamed) {
    const message = `does not know ${unnamed}, which is protected there but missing from the site file`;
    findings.push(problem(message, `add it to the site file again under this name; then ${again}`));
  }
  for (const { name: vm, failure } of known) {
    if (failure) findings.push(problem(`can't run ${vm}: ${failure.detail}`, failureCatalogue[failure.code].remedy));
  }
  return findings.length > 0 ? findings : [ok(`answers and knows ${counted(known.length, 'VM')}`)];
}

async function answer<T>(ask: () => Promise<T>): Promise<{ value: T } | Finding> {
  try {
    return { value: await ask() };
  } catch (error) {
    if (!(error instanceof CatalogueError)) throw error;
    return problem(error.message, failureCatalogue[error.code].remedy);
  }
}

/** Files that contain secrets, with the setting that names them. */
function secretFiles(env: NodeJS.ProcessEnv): { readonly file: string; readonly by: string }[] {
  const key = env['TEMPORAL_TLS_CLIENT_KEY_PATH'];
  const usesProfile = env['TEMPORAL_CONFIG_FILE'] || env['TEMPORAL_PROFILE'];
  const ofStore = [`${CONNECTION_STRING}_FILE`, `${SAS}_FILE`].flatMap((name) => {
    const file = env[name]?.trim();
    return file ? [{ file: path.resolve(file), by: `the environment variable ${name}` }] : [];
  });
  return [
    ...ofStore,
    ...(key ? [{ file: path.resolve(key), by: 'the environment variable TEMPORAL_TLS_CLIENT_KEY_PATH' }] : []),
    ...(usesProfile ? [{ file: configFileOf(env), by: 'TEMPORAL_CONFIG_FILE or TEMPORAL_PROFILE' }] : []),
  ];
}

/** One check for each configured file of credentials: only its owner may read it. */
export const secretChecks = (env: NodeJS.ProcessEnv): Check[] =>
  secretFiles(env).map(({ file, by }) => ({
    name: 'Credentials',
    run: async () => {
      const found = await stat(file).catch((error: NodeJS.ErrnoException) => error.code ?? 'unreadable');
      if (typeof found === 'string') return problem(`${file} can't be read: ${found}`, 'correct its path', by);
      const mode = (found.mode & 0o777).toString(8).padStart(4, '0');
      if ((found.mode & 0o077) === 0) return ok(`only its owner may read ${file}`, by);
      return warning(`users other than its owner may use ${file} (mode ${mode})`, `chmod 600 ${shellWord(file)}`, by);
    },
  }));
