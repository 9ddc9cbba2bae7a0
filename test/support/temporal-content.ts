/** All that a Temporal server keeps in a namespace, as it keeps it: nothing is decoded. */
import type { Connection } from '@temporalio/client';
import type { Payload } from '@temporalio/common';

export interface RawPayload extends Payload {
  /** Where it is, `job/db-01/…/events/7/…/input/payloads/0` for example. */
  readonly place: string;
  /** Of the event; of a memo the present. */
  readonly time: Date;
}

export interface RawFailure {
  readonly place: string;
  readonly time: Date;
  readonly message: string;
  readonly stackTrace: string;
}

export interface TemporalContent {
  readonly workflowIds: readonly string[];
  readonly payloads: readonly RawPayload[];
  readonly failures: readonly RawFailure[];
}

/** What is never encrypted: the server works with these, or the SDK's core wrote it (a marker's notes of its own). */
const plain = /\/(?:searchAttributes|indexedFields|header)\/|\/details\/(?:patch-data|data)\//;

export async function temporalContent(connection: Connection, namespace: string): Promise<TemporalContent> {
  const payloads: RawPayload[] = [];
  const failures: RawFailure[] = [];
  const walk = (value: unknown, place: string, time: Date): void => {
    if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || plain.test(`${place}/`)) return;
    const fields = value as Record<string, unknown>;
    if (isPayload(fields)) payloads.push({ ...fields, place, time });
    else {
      const { message, stackTrace } = fields;
      if (typeof message === 'string' && typeof stackTrace === 'string')
        failures.push({ place, time, message, stackTrace });
      for (const [name, inner] of Object.entries(fields)) walk(inner, `${place}/${name}`, time);
    }
  };
  const { workflowService } = connection;
  const { executions } = await workflowService.listWorkflowExecutions({ namespace, pageSize: 1000 });
  for (const { execution, memo } of executions ?? []) {
    const id = `${execution!.workflowId}@${execution!.runId}`;
    walk(memo, `${id}/memo`, new Date());
    let nextPageToken: Uint8Array = new Uint8Array();
    do {
      const page = await workflowService.getWorkflowExecutionHistory({
        namespace,
        execution: execution!,
        nextPageToken,
      });
      for (const event of page.history?.events ?? []) {
        const time = new Date(Number(event.eventTime!.seconds) * 1000);
        walk(event, `${id}/events/${String(event.eventId)}`, time);
      }
      ({ nextPageToken } = page);
    } while (nextPageToken.length > 0);
  }
  return { workflowIds: (executions ?? []).map(({ execution }) => execution!.workflowId!), payloads, failures };
}

const isPayload = (fields: Record<string, unknown>): fields is Record<string, unknown> & Payload =>
  'metadata' in fields && (fields['data'] == null || ArrayBuffer.isView(fields['data'])) && 'data' in fields;
