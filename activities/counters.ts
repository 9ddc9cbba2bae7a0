/** What the agent counts, through the SDK's meter; the VM, its vault and its host are tagged by the worker. */
import { Context } from '@temporalio/activity';

/** @param kind cycles, or copies of whole disks and resynchronizations. @param bytes of disk content that has arrived. */
export const countShipped = (kind: 'cycle' | 'copy', bytes: number): void =>
  Context.current()
    .metricMeter.createCounter('farshore_shipped_bytes', '', 'Disk content that has been sent and is safe in the store')
    .add(bytes, { kind });
