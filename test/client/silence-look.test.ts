/** What somebody who watches reads of a host that has just fallen silent, before its VMs have been told. */
import { expect, test, vi } from 'vitest';
import { SilenceLook } from '../../client/watch/silence-look.js';
import { hostSilence, type HostSilence } from '../../domain/host-silence.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { newItem } from '../domain/random-life.js';

const item: ProtectedItem = { ...newItem(), vm: 'db-01', host: 'h1', phase: 'Protected' };
const items = new Map([[item.vm, item]]);
const silence: HostSilence = { host: 'h1', since: '2026-11-28T10:00:00.000Z', silent: 'agent' };

test('is made in the background from time to time, and ends when the host is heard again', async () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  try {
    let found: readonly HostSilence[] = [silence];
    let end: () => void = () => {};
    const look = vi.fn(async () => {
      await new Promise<void>((resolve) => (end = resolve));
      return found;
    });
    const looks = new SilenceLook(look);
    const silent = () => hostSilence(looks.told(items).get('db-01')!)?.host;
    const endLook = async () => {
      end();
      await new Promise(setImmediate);
    };
    expect(silent()).toBeUndefined();
    expect(silent()).toBeUndefined();
    expect(look).toHaveBeenCalledTimes(1);
    await endLook();
    expect(silent()).toBe('h1');
    found = [];
    vi.advanceTimersByTime(5_000);
    expect(silent()).toBe('h1');
    await endLook();
    expect(silent()).toBeUndefined();
    look.mockRejectedValueOnce(new Error('no answer'));
    vi.advanceTimersByTime(5_000);
    expect(silent()).toBeUndefined();
    await new Promise(setImmediate);
    vi.advanceTimersByTime(5_000);
    silent();
    expect(look).toHaveBeenCalledTimes(4);
  } finally {
    vi.useRealTimers();
  }
});
