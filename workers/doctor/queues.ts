/** The task queues of a site, and who has to poll them. */
import { taskQueues } from '../../domain/ids.js';
import { hostsOf, type Site } from '../../domain/site.js';
import { ACTIVITIES, WORKFLOWS } from '../pollers.js';

export interface Queue {
  readonly queue: string;
  readonly types: readonly (typeof WORKFLOWS | typeof ACTIVITIES)[];
  /** The command that starts its worker. */
  readonly start: string;
}

export function queuesOf(site: Site): Queue[] {
  const vault = site.vault.name;
  const queue = (name: string, types: Queue['types'], role: string, of: string): Queue => ({
    ...{ queue: name, types, start: `farshore worker --role ${role} --name ${of}` },
  });
  return [
    queue(taskQueues.azure(vault), [WORKFLOWS, ACTIVITIES], 'azure', vault),
    ...site.vmmServers.map(({ name }) => queue(taskQueues.vmm(name), [ACTIVITIES], 'vmm', name)),
    ...hostsOf(site).map(({ name }) => queue(taskQueues.host(name), [ACTIVITIES], 'host', name)),
  ];
}
