/** The details of an activity's newest heartbeat, as the server has them. */
import { defaultPayloadConverter, type LoadedDataConverter } from '@temporalio/common';
import type { temporal } from '@temporalio/proto';

/** @throws Error if the keys to decrypt them are missing. */
export async function heartbeatOf(
  pending: temporal.api.workflow.v1.IPendingActivityInfo | undefined,
  { payloadCodecs }: LoadedDataConverter,
): Promise<unknown[]> {
  let payloads = pending?.heartbeatDetails?.payloads ?? [];
  for (const codec of payloadCodecs.toReversed()) payloads = await codec.decode(payloads);
  return payloads.map((payload) => defaultPayloadConverter.fromPayload(payload));
}
