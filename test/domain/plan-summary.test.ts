import { expect, it } from 'vitest';
import { MAX_PLAN_MACHINES, planSummary } from '../../domain/plan.js';

/** Characters that the Web UI has room for. */
const LIMIT = 240;

it('names the VMs of a plan as long as there is room for them', () => {
  const of = (vms: string[]) => planSummary({ name: 'web-shop', groups: [{ name: 'all', vms }] }, 'planned');
  expect(of(['db-01', 'web-01'])).toBe('Recovery plan web-shop, planned failover of db-01, web-01');
  const many = Array.from({ length: MAX_PLAN_MACHINES }, (_, index) => `${index}`.padEnd(63, 'x'));
  expect(of(many)).toBe('Recovery plan web-shop, planned failover of 100 VMs');
  for (let count = 1; count <= MAX_PLAN_MACHINES; count += 1)
    expect(of(many.slice(0, count)).length).toBeLessThan(LIMIT);
});
