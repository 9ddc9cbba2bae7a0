/** What an activity has told by its newest heartbeat, as the server has it. */
import { defaultPayloadConverter, type LoadedDataConverter } from '@temporalio/common';
import type { temporal } from '@temporalio/proto';

/** @throws Error when the keys to read it are not there. */
export async function heartbeatOf(
  pending: temporal.api.workflow.v1.IPendingActivityInfo | undefined,
  { payloadCodecs }: LoadedDataConverter,
): Promise<unknown[]> {
  let payloads = pending?.heartbeatDetails?.payloads ?? [];
  for (const codec of payloadCodecs.toReversed()) payloads = await codec.decode(payloads);
  return payloads.map((payload) => defaultPayloadConverter.fromPayload(payload));
}
