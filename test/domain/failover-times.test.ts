import { expect, test } from 'vitest';
import { lossAhead, timeLines, timesOf } from '../../domain/failover-times.js';
import { at } from './random-life.js';

const instants = { dataAsOf: at(0), declaredAt: at(434), failedOverAt: at(440), runningAt: at(460) };
const rest = {
  recoveryPoint: 'p',
  recoveryPointTime: at(0),
  failedOverAt: at(440),
  cyclesProcessed: 0,
  shutDown: 'notTried' as const,
  replicaDisks: [],
};
const text = (times: ReturnType<typeof timesOf>) =>
  timeLines({ ...rest, ...times }).flatMap(([label, value]) => (value === undefined ? [] : [`${label}: ${value}`]));

test('if the host is lost, the loss ends and the outage begins with its last sign of life', () => {
  const times = timesOf({ ...instants, hostSeenAt: at(25) });
  expect(times).toMatchObject({ rpoSeconds: 25, rtoSeconds: 26, outageSeconds: 435 });
  expect(text(times)).toEqual([
    `Data as of: ${at(0)}: everything written later is lost`,
    `Host last seen: ${at(25)}, 25 s after that data`,
    `Declared: ${at(434)}`,
    `Failed over: ${at(440)}`,
    `Running: ${at(460)}`,
    'RPO: 25 s: from the data until the host was last seen; more only if it kept writing while silent',
    'RTO: 26 s: from declaring the failover until the VM ran',
    'Outage: 7 min 15 s: from when the host was last seen until the VM ran',
  ]);
});

test('if the host answers, the loss continues until the VM has failed over', () => {
  const times = timesOf(instants);
  expect(times).toMatchObject({ rpoSeconds: 440, rtoSeconds: 26 });
  expect(times).not.toHaveProperty('outageSeconds');
  expect(text(times)).toContainEqual(
    expect.stringContaining('RPO: at least 7 min 20 s: from the data until the failover'),
  );
});

test('if the host was not heard after its newest data, the maximum loss is reported', () => {
  const times = timesOf({ ...instants, hostSeenAt: at(0) });
  expect(times).toMatchObject({ rpoSeconds: 440, outageSeconds: 460 });
  expect(text(times)).toEqual(
    expect.arrayContaining([
      `Host last seen: ${at(0)}, with that data; how long it kept writing is unknown`,
      'RPO: up to 7 min 20 s: from the data until the failover, as the host was not heard in between',
      'Outage: up to 7 min 40 s: from when the host was last seen until the VM ran',
    ]),
  );
  expect(lossAhead(at(0), 'hv-01', { hostSeenAt: at(0) }, at(434))).toMatch(
    /Host hv-01 has not been heard since then: everything written after that data is lost, and the amount is unknown/,
  );
});

test('if it is known when the host stopped answering, the maximum loss until then is reported', () => {
  const host = { hostSeenAt: at(25), hostSilentAt: at(28) };
  const times = timesOf({ ...instants, ...host });
  expect(times).toMatchObject({ rpoSeconds: 28, outageSeconds: 435 });
  expect(text(times)).toEqual(
    expect.arrayContaining([
      `Host last seen: ${at(25)}, 25 s after that data`,
      `Silent since: ${at(28)}`,
      'RPO: at most 28 s: from the data until the host stopped answering; more only if it kept writing while silent',
      'Outage: up to 7 min 15 s: from when the host was last seen until the VM ran',
    ]),
  );
  expect(lossAhead(at(0), 'hv-01', host, at(434))).toMatch(
    new RegExp(
      `last seen at ${at(25)}, 25 s after .* is lost, at most 28 s, as the host has not answered since ${at(28)}`,
    ),
  );
  // A part of a second is lost, too.
  const later = new Date(Date.parse(at(28)) + 1).toISOString();
  expect(timesOf({ ...instants, ...host, hostSilentAt: later }).rpoSeconds).toBe(28.1);
});

test('a host last heard before its newest cycle is known to have lived until that cycle', () => {
  const host = { hostSeenAt: new Date(Date.parse(at(0)) - 2_000).toISOString(), hostSilentAt: at(1) };
  const times = timesOf({ ...instants, ...host });
  expect(times).toMatchObject({ hostSeenAt: at(0), rpoSeconds: 1, outageSeconds: 460 });
  expect(lossAhead(at(0), 'hv-01', host, at(434))).toMatch(
    /after that data is lost, at most 1 s, as the host has not answered/,
  );
});

test.each([3_600_000, -3_600_000])(
  'what a host wrote by a clock that is %i ms ahead is told by the other one',
  (ahead) => {
    const dataAsOf = new Date(Date.parse(at(0)) + ahead).toISOString();
    const host = { hostSeenAt: at(25), hostSilentAt: at(28), hostClockAheadMs: ahead };
    const times = timesOf({ ...instants, ...host, dataAsOf });
    expect(times).toMatchObject({ rpoSeconds: 28, outageSeconds: 435 });
    const lines = timeLines({ ...rest, recoveryPointTime: dataAsOf, ...times });
    expect(lines).toContainEqual([
      "Host's clock",
      `1 h ${ahead > 0 ? 'ahead' : 'behind'}: only the time of the data is by this clock`,
    ]);
    expect(lines).toContainEqual(['Host last seen', `${at(25)}, 25 s after that data`]);
    expect(lossAhead(dataAsOf, 'hv-01', host, at(434))).toMatch(
      /, 7 min 14 s ago\. .* 25 s after that data.* at most 28 s/,
    );
  },
);

test('a source that was shut down and has sent all its writes loses nothing', () => {
  const disks = [{ name: 'os', lastWriteIssued: 7, lastWriteApplied: 7 }];
  const times = timesOf({ ...instants, disks });
  expect(times.rpoSeconds).toBe(0);
  expect(timeLines({ ...rest, ...times, disks })).toContainEqual(['RPO', '0 s: nothing was lost']);
  expect(timesOf({ ...instants, disks: [{ ...disks[0]!, lastWriteApplied: 6 }] }).rpoSeconds).toBe(440);
});

test('before the failover, the loss is reported as it will be', () => {
  expect(lossAhead(at(0), 'hv-01', { hostSeenAt: at(25) }, at(434))).toBe(
    `Its data will be as of ${at(0)}, 7 min 14 s ago. Host hv-01 was last seen at ${at(25)}, 25 s after that data: everything written after that data is lost.`,
  );
  expect(lossAhead(at(0), 'hv-01', undefined, at(10))).toMatch(/10 s ago: everything written from then until/);
  expect(lossAhead(undefined, 'hv-01', undefined, at(10))).toMatch(/since the newest recovery point is lost/);
});
