import { expect, test } from 'vitest';
import { boardText } from '../../domain/board-text.js';
import type { Board } from '../../domain/board.js';

const board: Board = {
  ...{ at: '2026-03-01T12:00:00.000Z', vault: 'v1', health: 'Critical' },
  vms: [
    { vm: 'app-01', host: 'hv-01', phase: 'Protected', activeSide: 'primary', health: 'Normal', rpoSeconds: 7 },
    { vm: 'db-01', host: 'hv-02', phase: 'Protected', activeSide: 'primary', health: 'Critical' },
    { vm: 'old-01', host: 'hv-01', phase: 'Committed', activeSide: 'recovery', health: 'Normal' },
    { vm: 'new-01', phase: 'Unprotected' },
  ],
  hosts: [
    { host: 'hv-01', vms: ['app-01', 'old-01'], health: 'Normal' },
    {
      host: 'hv-02',
      vms: ['db-01'],
      health: 'Critical',
      silence: { since: '2026-03-01T11:50:00.000Z', silent: 'agent' } as never,
    },
  ],
  jobs: [
    {
      ...{ id: 'job/app-01/verify/1', title: 'Verify the replica', vm: 'app-01', task: 'Comparing' },
      progress: { bytesDone: 512, bytesTotal: 1024 },
    },
    { id: 'job/db-01/resync/1', title: 'Resynchronize', vm: 'db-01', waitsFor: 'person' },
  ],
  attention: [
    {
      ...{ vms: ['db-01'], health: 'Critical', message: 'db-01: a disk is missing', since: '2026-03-01T11:55:00.000Z' },
      advice: ['Put the disk file back.', 'farshore retry db-01'],
    },
  ],
};

test('lists hosts, VMs by health, running jobs, and jobs that wait for an operator', () => {
  expect(boardText(board).split('\n')).toEqual([
    '# Vault v1: Critical',
    '4 VMs: 1 Critical, 2 Normal, 1 not protected. 2 jobs and plans running.',
    '',
    '## Needs attention',
    '',
    '- **Critical**: db-01: a disk is missing, since 2026-03-01T11:55:00.000Z',
    '    - Put the disk file back.',
    '    - `farshore retry db-01`',
    '',
    '## Waits for an operator',
    '',
    '- Resynchronize of db-01, waits for an operator (`job/db-01/resync/1`)',
    '',
    '## Running',
    '',
    '- Verify the replica of app-01: Comparing, 50 % of 1.0 KiB (`job/app-01/verify/1`)',
    '',
    '## Hosts',
    '',
    '- hv-01, Normal: app-01, old-01',
    '- **hv-02** has not answered since 2026-03-01T11:50:00.000Z, Critical: db-01',
    '',
    '## VMs',
    '',
    '- **Critical** db-01: Protected, runs at the primary site',
    '- Normal, at the primary site: app-01',
    '- Normal, at the recovery site: old-01',
    '- Not protected: new-01',
  ]);
});

test('while all is well, the text does not depend on the time', () => {
  const well = { ...board, vms: board.vms.slice(0, 1), hosts: board.hosts.slice(0, 1), jobs: [], attention: [] };
  const later = { ...well, at: '2026-03-01T13:00:00.000Z', vms: well.vms.map((vm) => ({ ...vm, rpoSeconds: 99 })) };
  expect(boardText(later)).toBe(boardText(well));
});
