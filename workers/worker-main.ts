/** Process entry of a worker under a supervisor: `node dist/workers/worker-main.js ROLE NAME SITE_FILE DATA_FOLDER`. */
import { DataFolder } from './data-folder.js';
import { loadSite } from './site-file.js';
import { stopSignal } from './stop-signals.js';
import { connectTarget } from './temporal-connection.js';
import { roles, runWorker, type Role } from './worker.js';

const [role, name, siteFile, dataFolder] = process.argv.slice(2);
if (!roles.includes(role as Role) || name === undefined || siteFile === undefined || dataFolder === undefined) {
  throw new Error('usage: worker-main ROLE NAME SITE_FILE DATA_FOLDER');
}
const site = await loadSite(siteFile, { disks: false });
const signal = stopSignal({ withSupervisor: process.env['FARSHORE_SUPERVISED'] === '1' });
const temporal = connectTarget();
await runWorker({ role: role as Role, name, site, data: new DataFolder(dataFolder), temporal }, signal);
// Standard input is being listened to and would keep the process.
process.exit(0);
