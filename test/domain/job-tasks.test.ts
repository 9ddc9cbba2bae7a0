import { expect, it } from 'vitest';
import { newJob, taskOf } from '../../domain/jobs/job-record.js';

it('finds the task of a job that began under an older name of the task', () => {
  const job = newJob('disableProtection', 'job/v/db-01/disableProtection/1', 'v', 'db-01', '2026-01-01T00:00:00.000Z');
  const old = { ...job, tasks: job.tasks.map((task, index) => (index === 1 ? { ...task, name: 'Removing' } : task)) };
  expect(taskOf(old, 'Clearing up at the recovery site')).toBe(old.tasks[1]);
  expect(taskOf(job, 'Disabling protection at the primary site')).toBe(job.tasks[0]);
  expect(taskOf(job, 'Commit')).toBeUndefined();
});
