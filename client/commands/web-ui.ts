/** `open`: opens the Temporal Web UI at the page of a VM, a job or a plan run, or at a list by a saved query. */
import { Command } from 'commander';
import { protectedItemId } from '../../domain/ids.js';
import { openInBrowser } from '../browser.js';
import { RefusedError } from '../errors.js';
import type { Farshore } from '../farshore.js';
import { savedQueries, savedQuery } from '../saved-queries.js';
import { detailsUrl, queryUrl, workflowUrl, type WebUi } from '../web-ui-pages.js';
import { commonOptions, outputOf, UI_VARIABLE, withFarshore, type Place } from './place.js';

interface OpenOptions {
  readonly query?: string;
  readonly save?: true;
  readonly details?: true;
  readonly print?: true;
}

const queriesHelp = Object.entries(savedQueries)
  .map(([name, { description }]) => `  ${name.padEnd(20)}${description}`)
  .join('\n');

export function openCommand(): Command {
  return new Command('open')
    .summary('open a VM, a job, a plan run or a saved query in the Temporal Web UI')
    .description(
      "Opens the Web UI's page of a VM, a job, a plan run or the board of the vault, or the workflows that a saved " +
        'query finds, and prints the address. With --print or --json, or if no browser can be opened, only prints it.',
    )
    .argument('[vm-or-id]', 'a VM, the id of a job or plan run, or vault/NAME for the board of the vault')
    .option('--query <name>', 'open the workflows that a saved query finds')
    .option('--save', "with --query: add it to the Web UI's saved views in this browser; needed once")
    .option(
      '--details',
      'with a VM, a job or a plan run: open the current details (tab "User Metadata") of its newest run',
    )
    .option('--print', 'only print the address')
    .addHelpText('after', `\nSaved queries (each covers this vault only):\n${queriesHelp}`)
    .addHelpText('after', '\nExamples:\n  farshore open db-01\n  farshore open --query needs-attention')
    .action(async (what: string | undefined, options: OpenOptions, command: Command) => {
      checkArguments(what, options);
      await withFarshore(command, async (farshore, place) => {
        const page =
          what === undefined ? queryPage(place, farshore, options) : await workflowPage(place, farshore, what, options);
        const onlyPrint = options.print ?? commonOptions(command).json ?? false;
        const opened = !onlyPrint && (await openInBrowser(page.url));
        outputOf(command).result('open', { ...page, opened }, page.url);
      });
    });
}

/** @throws RefusedError */
function checkArguments(what: string | undefined, { query, save, details }: OpenOptions): void {
  if (what === undefined && query === undefined)
    throw new RefusedError('name a VM, a job or a plan run, or a saved query with --query');
  if (what !== undefined && query !== undefined)
    throw new RefusedError(`give either ${what} or --query ${query}, not both: only one page can be opened`);
  if (details && what === undefined) throw new RefusedError('--details needs a VM, a job or a plan run: name one');
  if (save && query === undefined) throw new RefusedError('--save needs a query: name it with --query');
}

function queryPage(place: Place, farshore: Farshore, { query: name, save }: OpenOptions) {
  const { title, query } = savedQuery(name!, place.site.site.vault.name);
  return { query, url: queryUrl(webUiOf(place, farshore, query), query, save && title) };
}

async function workflowPage(place: Place, farshore: Farshore, what: string, { details }: OpenOptions) {
  const isId = what.includes('/');
  if (!isId) farshore.siteVm(what);
  const workflowId = isId ? what : protectedItemId(place.site.site.vault.name, what);
  const run = await farshore.newestRun(workflowId);
  if (run === undefined) {
    throw new RefusedError(
      isId
        ? `there is no VM, job or plan run ${what}; \`farshore vm list\`, \`farshore job list\` and \`farshore plan list\` show them`
        : `${what}: the VM is not protected`,
    );
  }
  const ui = webUiOf(place, farshore, workflowId);
  return { workflowId, url: details ? detailsUrl(ui, workflowId, run) : workflowUrl(ui, workflowId) };
}

/** @param wanted what is to be opened there. @throws RefusedError */
function webUiOf({ temporal: { uiUrl, address } }: Place, { namespace }: Farshore, wanted: string): WebUi {
  if (uiUrl !== undefined) return { uiUrl, namespace };
  throw new RefusedError(
    `the address of the Web UI of the Temporal server ${address} is unknown: set ${UI_VARIABLE} to it, or search there for ${wanted}`,
  );
}
