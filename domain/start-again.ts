/** Commands that start again what does not answer, for people. */

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

/** Of a host that says nothing nobody knows which of the two is down. */
export const startHost = (host: string): string =>
  `whichever is down there: ${startHypervisor(host)}, and ${startAgent(host)}. ${BEFORE_THAT}. Replication then continues by itself.`;
