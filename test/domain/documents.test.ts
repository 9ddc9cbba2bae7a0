/** What people write: site, plan and policy. Each bad input is refused where it stands, with a remedy. */
import { checkSite } from '../../domain/site-checks.js';
import { describe, expect, it } from 'vitest';
import { checkPlan, planMachines, recoveryPlanSchema, type RecoveryPlan } from '../../domain/plan.js';
import { copyFrequencyMs, policySchema } from '../../domain/policy.js';
import { osDiskOf, policyOf, replicaNetworkOf, siteSchema, vmmServerOf, type Site } from '../../domain/site.js';

const disk = (name: string, more: object = {}) => ({ name, path: `${name}.img`, ...more });
const vm = (name: string, more: object = {}) => ({ name, host: 'h1', disks: [disk(`${name}-os`)], ...more });

/** In order; every test breaks one thing in it. */
const whole = () => ({
  vault: { name: 'vault-1', store: { kind: 'embedded', path: 'store' } },
  vmmServers: [
    {
      name: 'vmm-1',
      logicalNetworks: [{ name: 'corporate' }],
      vmNetworks: [{ name: 'lan', logicalNetwork: 'corporate' }],
      clouds: [{ name: 'gold', logicalNetworks: ['corporate'], hosts: [{ name: 'h1' }, { name: 'h2' }] }],
    },
  ],
  azureNetworks: [{ name: 'recovery', subnets: ['front', 'lan'] }],
  networkMappings: [{ vmNetwork: 'lan', azureNetwork: 'recovery' }],
  policies: [{ name: 'fast', copyFrequency: '30s' }],
  vms: [
    vm('web', { networkAdapters: [{ name: 'nic', vmNetwork: 'lan' }] }),
    vm('db', { host: 'h2', policy: 'fast', disks: [disk('data'), disk('boot', { os: true })] }),
  ],
});
type Raw = ReturnType<typeof whole>;
type Path = readonly (string | number)[];

const readSite = (change: (site: Raw) => void = () => undefined): Site => {
  const raw = whole();
  change(raw);
  return siteSchema.parse(raw);
};
/** Puts a value at a path. */
const put =
  (path: Path, value: unknown) =>
  (raw: object): void => {
    let at = raw as Record<string | number, unknown>;
    for (const key of path.slice(0, -1)) at = at[key] as Record<string | number, unknown>;
    at[path.at(-1)!] = value;
  };

describe('a site', () => {
  it('a valid one has no findings, and gets the defaults', () => {
    const site = readSite();
    expect(checkSite(site)).toEqual([]);
    expect(site.vms[0]).toMatchObject({ generation: 2, replica: { size: 'Standard_D2s_v5' } });
    expect(site.vms[0]!.disks[0]).toMatchObject({ os: false });
    // What its file shows itself to be decides.
    expect(site.vms[0]!.disks[0]!.format).toBeUndefined();
  });

  it.each<[string, Path, unknown, Path?]>([
    ['no name', ['vault', 'name'], ''],
    ['a name that is a path', ['vms', 0, 'name'], '../web'],
    ['another kind of store', ['vault', 'store', 'kind'], 'tape'],
    ['a store without a folder', ['vault', 'store', 'path'], ''],
    ['no VMM server', ['vmmServers'], []],
    ['a server without clouds', ['vmmServers', 0, 'clouds'], []],
    ['a cloud without hosts', ['vmmServers', 0, 'clouds', 0, 'hosts'], []],
    ['a network without subnets', ['azureNetworks', 0, 'subnets'], []],
    ['a VM without disks', ['vms', 0, 'disks'], []],
    ['a generation there is none of', ['vms', 0, 'generation'], 3],
    ['a format we do not read', ['vms', 0, 'disks', 0, 'format'], 'vhdx'],
    ['a size of nothing', ['vms', 0, 'disks', 0, 'size'], 0],
    ['half a sector', ['vms', 0, 'disks', 0, 'size'], 1000],
    ['a size that is text', ['vms', 0, 'disks', 0, 'size'], '1 GiB'],
    ['a frequency we do not have', ['policies', 0, 'copyFrequency'], '1m'],
    ['a retention of more than a day', ['policies', 0, 'recoveryPointRetentionHours'], 25],
    ['a retention below none', ['policies', 0, 'recoveryPointRetentionHours'], -1],
    ['half an hour', ['policies', 0, 'recoveryPointRetentionHours'], 0.5],
    ['a replica of no size', ['vms', 0, 'replica'], { size: '' }, ['vms', 0, 'replica', 'size']],
  ])('is refused for %s, where that stands', (_what, path, value, told = path) => {
    const raw = whole();
    put(path, value)(raw);
    const { error } = siteSchema.safeParse(raw);
    expect(error).toBeDefined();
    for (const issue of error!.issues) expect(issue.path).toEqual(told);
  });

  it.each<[string, Path]>([
    ['the site', []],
    ['the vault', ['vault']],
    ['the store', ['vault', 'store']],
    ['a server', ['vmmServers', 0]],
    ['a cloud', ['vmmServers', 0, 'clouds', 0]],
    ['a host', ['vmmServers', 0, 'clouds', 0, 'hosts', 0]],
    ['a VM', ['vms', 0]],
    ['a disk', ['vms', 0, 'disks', 0]],
    ['an adapter', ['vms', 0, 'networkAdapters', 0]],
    ['a policy', ['policies', 0]],
    ['a mapping', ['networkMappings', 0]],
  ])('is refused for a misspelt field of %s', (_what, path) => {
    const raw = whole();
    put([...path, 'colour'], 'blue')(raw);
    const { error } = siteSchema.safeParse(raw);
    expect(error?.issues).toMatchObject([{ code: 'unrecognized_keys', keys: ['colour'], path }]);
  });

  it.each<[string, Path, unknown, { path?: Path; message: RegExp; remedy: RegExp }]>([
    [
      'two servers of a name',
      ['vmmServers', 1],
      whole().vmmServers[0],
      { path: ['vmmServers', 1, 'name'], message: /taken by another VMM server/, remedy: /rename/ },
    ],
    ['two VMs of a name', ['vms', 1, 'name'], 'web', { message: /taken by another VM/, remedy: /rename/ }],
    [
      'the only disk excluded',
      ['vms', 0, 'disks', 0, 'excluded'],
      true,
      { message: /boots from this disk/, remedy: /remove excluded/ },
    ],
    [
      'the disk it boots from excluded',
      ['vms', 1, 'disks', 1, 'excluded'],
      true,
      { message: /boots from this disk/, remedy: /os: true/ },
    ],
    [
      'two disks of a name',
      ['vms', 1, 'disks', 1, 'name'],
      'data',
      { message: /taken by another disk of db/, remedy: /rename/ },
    ],
    [
      'two adapters of a name',
      ['vms', 0, 'networkAdapters', 1],
      { name: 'nic', vmNetwork: 'lan' },
      {
        path: ['vms', 0, 'networkAdapters', 1, 'name'],
        message: /taken by another network adapter of web/,
        remedy: /rename/,
      },
    ],
    [
      'two policies of a name',
      ['policies', 1],
      { name: 'fast' },
      { path: ['policies', 1, 'name'], message: /taken by another policy/, remedy: /rename/ },
    ],
    [
      'two Azure networks of a name',
      ['azureNetworks', 1],
      { name: 'recovery', subnets: ['a'] },
      { path: ['azureNetworks', 1, 'name'], message: /taken by another Azure network/, remedy: /rename/ },
    ],
    [
      'two hosts of a name',
      ['vmmServers', 0, 'clouds', 0, 'hosts', 1, 'name'],
      'h1',
      { message: /taken by another host/, remedy: /rename/ },
    ],
    [
      'a shared disk',
      ['vms', 1, 'disks', 0, 'path'],
      'web-os.img',
      { message: /already used by web\/web-os; shared disks/, remedy: /a file of its own/ },
    ],
    ['an unknown host', ['vms', 0, 'host'], 'h9', { message: /unknown host/, remedy: /use one of: h1, h2/ }],
    ['an unknown policy', ['vms', 0, 'policy'], 'slow', { message: /unknown policy/, remedy: /use one of: fast/ }],
    [
      'an unknown VM network',
      ['vms', 0, 'networkAdapters', 0, 'vmNetwork'],
      'wan',
      { message: /unknown VM network/, remedy: /use one of: lan/ },
    ],
    [
      'an unknown logical network',
      ['vmmServers', 0, 'vmNetworks', 0, 'logicalNetwork'],
      'x',
      { message: /unknown logical network/, remedy: /use one of: corporate/ },
    ],
    [
      'an unknown logical network of a cloud',
      ['vmmServers', 0, 'clouds', 0, 'logicalNetworks', 0],
      'x',
      { message: /unknown logical network/, remedy: /corporate/ },
    ],
    [
      'a mapping of an unknown VM network',
      ['networkMappings', 0, 'vmNetwork'],
      'wan',
      { message: /unknown VM network/, remedy: /lan/ },
    ],
    [
      'a mapping to an unknown network',
      ['networkMappings', 0, 'azureNetwork'],
      'x',
      { message: /unknown Azure network/, remedy: /use one of: recovery/ },
    ],
    [
      'a mapping to an unknown subnet',
      ['networkMappings', 0, 'subnet'],
      'x',
      { message: /unknown subnet of recovery/, remedy: /front, lan/ },
    ],
    [
      'no mapping',
      ['networkMappings'],
      [],
      { path: ['vms', 0, 'networkAdapters', 0, 'vmNetwork'], message: /no mapping/, remedy: /add an entry for lan/ },
    ],
  ])('with %s: one finding there, and what to do', (_what, path, value, { path: told = path, message, remedy }) => {
    const [first] = checkSite(readSite(put(path, value)));
    expect(first?.path).toEqual(told);
    expect(first?.message).toMatch(message);
    expect(first?.remedy).toMatch(remedy);
  });

  it('an empty list of choices is reported first', () => {
    const site = readSite((raw) => {
      raw.policies = [];
    });
    expect(checkSite(site)[0]?.remedy).toBe('define a policy first');
  });

  it('answers lookups', () => {
    const site = readSite();
    const [web, db] = site.vms;
    expect(vmmServerOf(site, 'h2')).toBe('vmm-1');
    expect(() => vmmServerOf(site, 'h9')).toThrow('host h9 does not belong to any cloud');
    expect(policyOf(site, db!)).toMatchObject({ name: 'fast', copyFrequency: '30s' });
    expect(policyOf(site, web!)).toMatchObject({
      name: 'default',
      copyFrequency: '5m',
      recoveryPointRetentionHours: 2,
    });
    expect([osDiskOf(web!).name, osDiskOf(db!).name]).toEqual(['web-os', 'boot']);
  });

  it('connects an adapter according to the mapping, otherwise to the subnet of the same name, otherwise to the first', () => {
    const target = (change: (raw: Raw) => void) => replicaNetworkOf(readSite(change), 'lan');
    expect(target(() => undefined)).toEqual({ network: 'recovery', subnet: 'lan' });
    expect(target(put(['networkMappings', 0, 'subnet'], 'front'))).toEqual({ network: 'recovery', subnet: 'front' });
    expect(target(put(['azureNetworks', 0, 'subnets'], ['front']))).toEqual({ network: 'recovery', subnet: 'front' });
    expect(target(put(['networkMappings'], []))).toBeUndefined();
  });
});

it('a policy knows its period', () => {
  const periods = ['30s', '5m', '15m'].map((copyFrequency) =>
    copyFrequencyMs(policySchema.parse({ name: 'p', copyFrequency })),
  );
  expect(periods).toEqual([30_000, 300_000, 900_000]);
});

describe('a plan', () => {
  const plan = (...groups: [name: string, ...vms: string[]][]) => ({
    name: 'plan',
    groups: groups.map(([name, ...vms]) => ({ name, vms })),
  });
  const check = (raw: object) => checkPlan(recoveryPlanSchema.parse(raw), readSite());

  it('a valid one has no findings', () => {
    const raw = plan(['data', 'db'], ['front', 'web']);
    expect(check(raw)).toEqual([]);
    expect(planMachines(raw as RecoveryPlan)).toEqual(['db', 'web']);
  });

  it.each<[string, object, Path]>([
    ['no groups', plan(), ['groups']],
    ['a group of none', plan(['data']), ['groups', 0, 'vms']],
    ['eight groups', plan(...Array.from({ length: 8 }, (_, at): [string, string] => [`g${at}`, 'db'])), ['groups']],
    ['a name that is a path', plan(['a/b', 'db']), ['groups', 0, 'name']],
    ['an order that is a number', { ...plan(['a', 'db']), order: 1 }, []],
  ])('is refused for %s', (_what, raw, path) => {
    expect(recoveryPlanSchema.safeParse(raw).error?.issues[0]?.path).toEqual(path);
  });

  it.each<[string, object, Path, RegExp, RegExp]>([
    ['an unknown VM', plan(['a', 'db', 'cache']), ['groups', 0, 'vms', 1], /unknown VM/, /use one of: web, db/],
    ['a VM twice', plan(['a', 'db'], ['b', 'db']), ['groups', 1, 'vms', 0], /already in group a/, /one group only/],
    ['a VM twice in a group', plan(['a', 'db', 'db']), ['groups', 0, 'vms', 1], /already in group a/, /one group only/],
    [
      'two groups of a name',
      plan(['a', 'db'], ['a', 'web']),
      ['groups', 1, 'name'],
      /taken by another group/,
      /rename/,
    ],
  ])('with %s: one finding there, and what to do', (_what, raw, path, message, remedy) => {
    const findings = check(raw);
    expect(findings).toHaveLength(1);
    expect(findings[0]?.path).toEqual(path);
    expect(findings[0]?.message).toMatch(message);
    expect(findings[0]?.remedy).toMatch(remedy);
  });

  it('has at most a hundred machines', () => {
    const names = Array.from({ length: 101 }, (_, at) => `vm-${at}`);
    const site = readSite((raw) => {
      raw.vms = names.map((name) => vm(name)) as Raw['vms'];
    });
    const of = (count: number) => checkPlan(recoveryPlanSchema.parse(plan(['all', ...names.slice(0, count)])), site);
    expect(of(100)).toEqual([]);
    expect(of(101)).toMatchObject([
      { path: ['groups'], message: expect.stringContaining('101 VMs'), remedy: expect.stringContaining('split') },
    ]);
  });
});
