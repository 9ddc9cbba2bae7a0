/** `open`, and where the Temporal Web UI shows things. */
import { Command } from 'commander';
import { protectedItemId } from '../../domain/ids.js';
import { RefusedError } from '../errors.js';
import { outputOf, withFarshore } from './place.js';

export const workflowsUrl = (uiUrl: string, namespace: string): string =>
  `${uiUrl}/namespaces/${encodeURIComponent(namespace)}/workflows`;

const workflowUrl = (uiUrl: string, namespace: string, workflowId: string): string =>
  `${workflowsUrl(uiUrl, namespace)}/${encodeURIComponent(workflowId)}`;

export function openCommand(): Command {
  return new Command('open')
    .summary('where the Temporal Web UI shows a VM, a job or a plan run')
    .description('Prints the address at which the Temporal Web UI shows a VM, a job or a plan run.')
    .argument('<vm-or-id>', 'a VM, or the id of a job or of a plan run')
    .addHelpText('after', '\nExample:\n  xdg-open $(farshore open db-01)')
    .action(async (what: string, _options: object, command: Command) => {
      await withFarshore(command, async (farshore, { temporal, site }) => {
        const isId = what.includes('/');
        if (!isId) farshore.siteVm(what);
        const workflowId = isId ? what : protectedItemId(site.site.vault.name, what);
        if (!(await farshore.isKnown(workflowId))) {
          throw new RefusedError(isId ? `there is nothing with the id ${what}` : `${what}: the VM is not protected`);
        }
        const { uiUrl, address } = temporal;
        if (uiUrl === undefined) {
          throw new RefusedError(
            `where the Web UI of the Temporal server ${address} is, is not known; look there for ${workflowId}`,
          );
        }
        const url = workflowUrl(uiUrl, farshore.namespace, workflowId);
        outputOf(command).result({ workflowId, url }, url);
      });
    });
}
