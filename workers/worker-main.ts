/**
 * Process entry of a worker under a supervisor: `node dist/workers/worker-main.js ROLE NAME SITE_FILE DATA_FOLDER
 * [ADDRESS NAMESPACE]`. The last two name the instance's own Temporal server; without them, the environment configures
 * it.
 */
import { DataFolder } from '../config/data-folder.js';
import { configuredMetricsAddress } from './metrics-address.js';
import { loadSite } from '../config/site-file.js';
import { stopSignal } from './stop-signals.js';
import { connectTarget } from '../temporal/connection.js';
import { roles, runWorker, type Role } from './worker.js';

const [role, name, siteFile, dataFolder, address, namespace] = process.argv.slice(2);
if (!roles.includes(role as Role) || name === undefined || siteFile === undefined || dataFolder === undefined) {
  throw new Error('usage: worker-main ROLE NAME SITE_FILE DATA_FOLDER [ADDRESS NAMESPACE]');
}
const own = address !== undefined && namespace !== undefined && { address, namespace, configuredBy: 'this instance' };
const temporal = connectTarget(own || {});
const site = await loadSite(siteFile, { disks: false });
const metrics = configuredMetricsAddress();
const signal = stopSignal({ withSupervisor: process.env['FARSHORE_SUPERVISED'] === '1' });
await runWorker({ role: role as Role, name, site, data: new DataFolder(dataFolder), temporal, metrics }, signal);
// The open listener on standard input would keep the process alive.
process.exit(0);
