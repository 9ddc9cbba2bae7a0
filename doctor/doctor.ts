/** All checks of a deployment. If parts of it are unknown, there are fewer checks, but never none. */
import type { DataFolder } from '../config/data-folder.js';
import { LocalSite } from '../local/local-site.js';
import type { LoadedSite } from '../config/site-file.js';
import type { ConnectTarget } from '../temporal/connection.js';
import { ok, problem, runChecks, type Check, type CheckResult } from './check.js';
import { leftoversCheck } from './leftovers.js';
import { localHosts, machineChecks, secretChecks } from './machine.js';
import { scopeOf } from './scope.js';
import { storeAccessOf, storeChecks } from './store.js';
import { counted } from '../domain/counted.js';
import { TemporalDoctor, type ConfiguredKeys } from './temporal.js';

/** Limit for each check, ms: longer than the check's own waits. */
const LIMIT_MS = 20_000;

/** Why a part could not be read, for people. */
export interface Unknown {
  readonly problem: string;
  readonly remedy: string;
}

export interface Patient {
  readonly site: LoadedSite | Unknown;
  readonly temporal: ConnectTarget | Unknown;
  readonly keys: ConfiguredKeys | Unknown;
  readonly data: DataFolder;
  /** Whether an instance holds the data folder. */
  readonly isUp: boolean;
}

export async function examine({ site, temporal, keys, data, isUp }: Patient): Promise<CheckResult[]> {
  const loaded = 'problem' in site ? undefined : site;
  const local = loaded && new LocalSite(loaded.site, data);
  const doctor = 'problem' in temporal ? undefined : new TemporalDoctor(temporal, local, isUp);
  try {
    const ring = 'problem' in keys ? undefined : keys.ring;
    // If the items are unknown, the check of replication says why.
    const items = loaded && (await doctor?.protectedItems(loaded.site.vault.name, ring).catch(() => undefined));
    const scope = loaded && scopeOf(loaded.site, items?.values());
    const checks: Check[] = [
      {
        name: 'Site file',
        run: () =>
          Promise.resolve(
            'problem' in site
              ? problem(site.problem, site.remedy)
              : ok(`${site.file} is valid: vault ${site.site.vault.name}, ${counted(site.site.vms.length, 'VM')}`),
          ),
      },
      ...('problem' in keys
        ? [{ name: 'Encryption', run: () => Promise.resolve(problem(keys.problem, keys.remedy)) }]
        : []),
      ...(doctor?.checks(loaded && scope && { site: loaded.site, scope }, 'problem' in keys ? undefined : keys) ?? []),
      ...('problem' in temporal
        ? [{ name: 'Temporal', run: () => Promise.resolve(problem(temporal.problem, temporal.remedy)) }]
        : []),
      ...(loaded ? storeChecks(loaded, storeAccessOf(loaded.site, data)) : []),
      ...(loaded ? [leftoversCheck(loaded.site, data, items)] : []),
      ...(loaded && scope ? machineChecks(loaded, scope, data, await localHosts(scope, data), isUp) : []),
      ...secretChecks(process.env),
    ];
    return await runChecks(checks, LIMIT_MS);
  } finally {
    await doctor?.close();
  }
}
