import { expect, it } from 'vitest';
import { infrastructureText } from '../../client/infrastructure/infrastructure-text.js';
import type { Infrastructure, InfrastructureVm } from '../../client/infrastructure/infrastructure.js';

const AT = '2026-01-01T00:00:00.000Z';
const vm = (changes: Partial<InfrastructureVm>): InfrastructureVm => ({
  vm: 'db-01',
  generation: 2,
  phase: 'Protected',
  disks: [],
  networkAdapters: [],
  ...changes,
});
const rowOf = (found: InfrastructureVm) => {
  const host = { host: 'hv-01', agent: { state: 'unknown' }, hypervisor: { answers: true }, vms: [found] } as const;
  const site: Infrastructure = {
    vault: {
      name: 'vault-1',
      store: 'vault',
      storeKind: 'embedded',
      storeAnswers: true,
      worker: { state: 'working', seenAt: AT },
      recoveryCompute: { answers: true, vmCount: 1 },
      networks: [],
    },
    vmmServers: [
      {
        name: 'vmm-01',
        provider: { state: 'working', seenAt: AT },
        logicalNetworks: [],
        vmNetworks: [],
        clouds: [{ name: 'cloud-01', logicalNetworks: [], hosts: [host] }],
      },
    ],
  };
  return infrastructureText(site, AT)
    .split('\n')
    .find((line) => line.includes('VM db-01: '));
};

it('says where a failed-over VM runs, and that the power state is that of its source', () => {
  const failedOver = { phase: 'FailedOver', activeSide: 'recovery', health: 'Normal' } as const;
  expect(rowOf(vm({ ...failedOver, power: 'Off' }))).toMatch(
    /db-01: FailedOver, Normal, runs at the recovery site; its source here: power Off$/,
  );
  expect(rowOf(vm(failedOver))).toMatch(/runs at the recovery site$/);
  expect(rowOf(vm({ activeSide: 'primary', health: 'Normal', power: 'Running' }))).toMatch(
    /db-01: Protected, Normal, power Running$/,
  );
});
