/** Counters of the agent, through the SDK's meter. The worker adds the tags of VM, vault and host. */
import { Context } from '@temporalio/activity';

/**
 * @param kind cycles, or copies of whole disks including resynchronizations. @param bytes of disk content that have
 * arrived.
 */
export const countShipped = (kind: 'cycle' | 'copy', bytes: number): void =>
  Context.current()
    .metricMeter.createCounter('farshore_shipped_bytes', '', 'Disk content that has been sent and is safe in the store')
    .add(bytes, { kind });
