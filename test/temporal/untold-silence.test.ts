/** When a host is said not to answer before its VMs have been told: by its looks, as the server would show them. */
import type { Client } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import { msToTs } from '@temporalio/common/lib/time.js';
import { describe, expect, test } from 'vitest';
import { toFailure } from '../../domain/errors.js';
import { hostSilence } from '../../domain/host-silence.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { toIso } from '../../domain/time.js';
import { withUntoldSilence } from '../../temporal/untold-silence.js';
import { newItem } from '../domain/random-life.js';

const item: ProtectedItem = { ...newItem(), vm: 'db-01', phase: 'Protected' };
const ago = (seconds: number) => toIso(Date.now() - seconds * 1000);

/** @param looks what each question shows; the last one again and again. */
/** @param beats whether the agent's heartbeats go on. */
function server(looks: readonly string[], beats: boolean): Client {
  let asked = 0;
  const describeHost = () => {
    const heardAt = looks[Math.min(asked++, looks.length - 1)];
    const heartbeatDetails =
      heardAt === undefined ? {} : { payloads: [defaultPayloadConverter.toPayload({ heardAt })] };
    const lastHeartbeatTime = msToTs(beats ? asked : 1);
    const pending = { activityType: { name: 'watchHost' }, heartbeatDetails, lastHeartbeatTime };
    return Promise.resolve({ raw: { pendingActivities: [pending] } });
  };
  return {
    options: { loadedDataConverter: { payloadCodecs: [] } },
    withDeadline: (_: number, call: () => Promise<unknown>) => call(),
    workflow: { getHandle: () => ({ describe: describeHost }) },
  } as unknown as Client;
}

async function silenceOf(looks: readonly string[], hypervisor?: boolean, beats = false, of = item) {
  const watched = { temporal: server(looks, beats), vault: 'v', hypervisorAnswers: () => Promise.resolve(hypervisor) };
  const told = await withUntoldSilence(watched, new Map([[of.vm, of]]));
  return hostSilence(told.get(of.vm)!);
}

describe.concurrent('a host', { timeout: 30_000 }, () => {
  test('that was heard just now is ok', async () => {
    expect(await silenceOf([ago(1)])).toBeUndefined();
  });
  test('that no longer looks does not answer', async () => {
    const heardAt = ago(20);
    expect(await silenceOf([heardAt])).toMatchObject({ silent: 'agent', heardAt });
  });
  test('that looked once while it was listened to, as a slow machine does, is not reported as silent', async () => {
    const before = ago(7);
    expect(await silenceOf([before, before, ago(1)])).toBeUndefined();
  });
  test('whose hypervisor is gone on this machine does not answer, whatever its looks were', async () => {
    expect(await silenceOf([ago(1)], false)).toMatchObject({ silent: 'agent' });
  });
  test('that was asked and has not answered since the watch last had news does not answer', async () => {
    expect(await silenceOf([])).toMatchObject({ silent: 'agent' });
  });
  test('whose agent continues while its hypervisor is gone lacks only the hypervisor', async () => {
    expect(await silenceOf([ago(20)], undefined, true)).toMatchObject({ silent: 'hypervisor' });
    expect(await silenceOf([ago(1)], false, true)).toMatchObject({ silent: 'hypervisor' });
  });
  test('that was heard just now is not called silent any more, though its VMs do not know yet', async () => {
    const hostTrouble = { failure: toFailure('AgentNotAnswering'), since: ago(60) };
    expect(await silenceOf([ago(1)], undefined, true, { ...item, hostTrouble })).toBeUndefined();
    expect(await silenceOf([ago(30)], undefined, false, { ...item, hostTrouble })).toMatchObject({ silent: 'agent' });
  });
});
