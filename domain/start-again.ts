/** Commands that start again what does not answer, for people. */

export const startAgent = (host: string): string => `farshore worker --role host --name ${host}`;
export const startHypervisor = (host: string): string => `farshore hypervisor --host ${host}`;
export const startProvider = (vmmServer: string): string => `farshore worker --role vmm --name ${vmmServer}`;
export const startAzureWorker = (vault: string): string => `farshore worker --role azure --name ${vault}`;

/** One that is there already refuses, or makes the next one wait; and some have somebody who looks after them. */
export const BEFORE_THAT = 'End one that hangs first; `farshore up` starts again by itself what it has started';

/** Of a host that says nothing nobody knows which of the two is down. */
export const startHost = (host: string): string =>
  `whichever is down there: ${startHypervisor(host)}, and ${startAgent(host)}. ${BEFORE_THAT}. Replication then continues by itself.`;
