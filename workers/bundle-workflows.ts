/** A step of the build: bundles the workflows once, for every worker to load. `node dist/workers/bundle-workflows.js` */
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { DefaultLogger, bundleWorkflowCode } from '@temporalio/worker';
import { workflowBundlePath } from './worker.js';

const { code } = await bundleWorkflowCode({
  workflowsPath: fileURLToPath(new URL('../workflows/index.js', import.meta.url)),
  workflowInterceptorModules: [fileURLToPath(new URL('../workflows/work-log.js', import.meta.url))],
  logger: new DefaultLogger('WARN'),
});
await writeFile(workflowBundlePath, code);
