/** Named queries for the server's list of workflows, with which operators find what they look for. */
import { RefusedError } from './errors.js';

interface SavedQuery {
  /** Name of the saved view in the Web UI. */
  readonly title: string;
  readonly description: string;
  /**
   * The condition without the vault. Ended runs are always excluded, because the list has a row for each continued run.
   */
  readonly condition?: string;
}

export const savedQueries = {
  'needs-attention': {
    title: 'Needs attention',
    description: 'VMs whose replication health is Warning or Critical',
    condition: "FarshoreHealth IN ('Critical', 'Warning')",
  },
  'waiting-for-person': {
    title: 'Waits for an operator',
    description: 'jobs and VMs that are stuck until an operator intervenes',
    condition: "FarshoreJobState = 'WaitingForPerson'",
  },
  'running-jobs': {
    title: 'Running jobs',
    description: 'jobs and plan runs that have not ended',
    condition: 'FarshoreJob IS NOT NULL',
  },
  vault: {
    title: 'Everything in the vault',
    description: 'every protected VM and every running job and plan run',
  },
} as const satisfies Record<string, SavedQuery>;

type SavedQueryName = keyof typeof savedQueries;

const isSaved = (name: string): name is SavedQueryName => Object.hasOwn(savedQueries, name);

/**
 * @param vault its name; letters, digits, ".", "_" and "-" need no quoting in a query.
 * @throws RefusedError that lists the existing names.
 */
export function savedQuery(name: string, vault: string): { readonly title: string; readonly query: string } {
  if (!isSaved(name))
    throw new RefusedError(`there is no query ${name}; use one of: ${Object.keys(savedQueries).join(', ')}`);
  const { title, condition }: SavedQuery = savedQueries[name];
  const parts = [`FarshoreVault = '${vault}'`, condition, "ExecutionStatus = 'Running'"];
  // The Web UI saves views per namespace, which may hold several vaults.
  return { title: `${title}: ${vault}`, query: parts.filter((part) => part !== undefined).join(' AND ') };
}
