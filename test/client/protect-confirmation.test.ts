import { expect, it } from 'vitest';
import { overwritingText } from '../../client/commands/replication.js';

it('suggests adopting only for VMs whose protection was not ended on purpose', () => {
  const ended = { vm: 'db-01', unprotectedAt: '2026-01-01T00:00:00.000Z' };
  expect(overwritingText([ended])).toMatch(/earlier recovery points of db-01: this deletes them/);
  expect(overwritingText([ended])).not.toContain('adopt');
  const both = overwritingText([ended, { vm: 'web-01' }]);
  expect(both).toContain('earlier recovery points of db-01, web-01');
  expect(both).toMatch(/farshore vault adopt web-01$/);
});
