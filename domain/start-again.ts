/** Commands that restart processes that do not answer, for display. */
import type { Failure } from './errors.js';

export const startWorker = (role: 'azure' | 'vmm' | 'host', name: string): string =>
  `farshore worker --role ${role} --name ${name}`;
export const startAgent = (host: string): string => startWorker('host', host);
export const startProvider = (vmmServer: string): string => startWorker('vmm', vmmServer);
export const startAzureWorker = (vault: string): string => startWorker('azure', vault);
export const startHypervisor = (host: string): string => `farshore hypervisor --host ${host}`;

/** A new process refuses to start, or waits, while the old one exists. An instance restarts its processes itself. */
export const BEFORE_THAT =
  'If the old process hangs, end it first; `farshore up` restarts its own processes automatically';

/** For a host whose agent answers and reports the hypervisor missing. */
export const startHypervisorAlone = (host: string): string =>
  `Restart the hypervisor; no data is lost: ${startHypervisor(host)}. ${BEFORE_THAT}.`;

const hostParts = (host: string): string =>
  `the processes that are down there: ${startHypervisor(host)}, and ${startAgent(host)}`;

/** The command that restarts the silent process; undefined for a failure that names none. */
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

/** For a silent host, where it is unknown which of the two processes is down. */
export const startHost = (host: string): string =>
  `${hostParts(host)}. ${BEFORE_THAT}. Replication then resumes automatically.`;
