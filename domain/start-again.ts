/** Commands that start again what does not answer, for people. */
import type { Failure } from './errors.js';

export const startWorker = (role: 'azure' | 'vmm' | 'host', name: string): string =>
  `farshore worker --role ${role} --name ${name}`;
export const startAgent = (host: string): string => startWorker('host', host);
export const startProvider = (vmmServer: string): string => startWorker('vmm', vmmServer);
export const startAzureWorker = (vault: string): string => startWorker('azure', vault);
export const startHypervisor = (host: string): string => `farshore hypervisor --host ${host}`;

/** One that is there already refuses, or makes the next one wait; and some have somebody who looks after them. */
export const BEFORE_THAT = 'End one that hangs first; `farshore up` starts again by itself what it has started';

/** Of a host whose agent answers, and tells of it. */
export const startHypervisorAlone = (host: string): string =>
  `Start it again, and nothing is lost: ${startHypervisor(host)}. ${BEFORE_THAT}.`;

const hostParts = (host: string): string =>
  `whichever is down there: ${startHypervisor(host)}, and ${startAgent(host)}`;

/** What starts again who does not answer; undefined of a failure that says nothing of that. */
export function startSilent(
  code: Failure['code'],
  { host, vmmServer, vault }: { readonly host: string; readonly vmmServer: string; readonly vault: string },
): string | undefined {
  switch (code) {
    case 'AgentNotAnswering':
      return hostParts(host);
    case 'HypervisorUnreachable':
      return startHypervisor(host);
    case 'ProviderNotAnswering':
      return startProvider(vmmServer);
    case 'RecoverySideNotAnswering':
      return startAzureWorker(vault);
    default:
      return undefined;
  }
}

/** Of a host that says nothing nobody knows which of the two is down. */
export const startHost = (host: string): string =>
  `${hostParts(host)}. ${BEFORE_THAT}. Replication then continues by itself.`;
