/**
 * A step of the build: bundles the workflows for every worker to load, once for sites without keys and once for those
 * with. `node dist/tools/bundle-workflows.js`
 */
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { DefaultLogger, bundleWorkflowCode } from '@temporalio/worker';
import { failureConverterPath } from '../temporal/encryption/data-converter.js';
import { encryptedWorkflowBundlePath, workflowBundlePath } from '../workers/worker.js';

const options = {
  workflowsPath: fileURLToPath(new URL('../workflows/index.js', import.meta.url)),
  workflowInterceptorModules: [
    fileURLToPath(new URL('../workflows/work-log.js', import.meta.url)),
    fileURLToPath(new URL('../workflows/history-looks.js', import.meta.url)),
  ],
  preloadModules: [fileURLToPath(new URL('../workflows/preloaded.js', import.meta.url))],
  logger: new DefaultLogger('WARN'),
};
const plain = await bundleWorkflowCode(options);
await writeFile(workflowBundlePath, plain.code);
const encrypted = await bundleWorkflowCode({ ...options, failureConverterPath });
await writeFile(encryptedWorkflowBundlePath, encrypted.code);
